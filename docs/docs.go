// Package docs holds the pages that the program reads itself. Invariant: a page is the only place where what it says is
// written.
package docs

import _ "embed"

// Queries is queries.md: the saved queries of sparrow query.
//
//go:embed queries.md
var Queries string
