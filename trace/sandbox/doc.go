// Package sandbox stands in for the analytics vendors and for Sentry, and goes wrong on demand.
//
// Invariant: it is as strict as the vendors' documents, and silent where they are silent. What a document forbids is
// refused or silently lost the way the document says; what no document mentions is taken as it comes. Where a document
// states a limit but not what happens beyond it, nothing beyond it is stored, so that no sender comes to rely on luck.
// Everything that arrives is recorded whole, and each event is counted each time it comes, before any vendor's
// de-duplication could hide that it came twice.
//
// It shares no code with what sends to the vendors: the two are written apart from the same documents, and each checks
// the other. docs/sandbox.md lists the rules, and where the sandbox is silent on purpose.
package sandbox
