package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-googlesql"
)

// column is a column of a table or view.
type column struct {
	name string
	kind googlesql.Googlesql_TypeNode
}

// options say how names are looked up, beside in full.
type options struct {
	home   string // project and dataset of names that have none; empty: all names are full
	prefix string // of datasets' names, which statements may leave out
}

// analyser analyses statements one after another. It is not safe for concurrent use.
type analyser struct {
	o        options
	language *googlesql.LanguageOptions
	options  *googlesql.AnalyzerOptions
	types    *googlesql.TypeFactory
	tables   map[string][]column // by full name: project, dataset and table, with a NUL between
	catalog  *googlesql.SimpleCatalog
	keep     []any // what the catalog points to
}

func newAnalyser(o options) (*analyser, error) {
	if err := googlesql.Init(); err != nil {
		return nil, err
	}
	a := &analyser{o: o, tables: map[string][]column{}}
	var err error
	if a.language, err = googlesql.NewLanguageOptions(); err != nil {
		return nil, err
	}
	if a.types, err = googlesql.NewTypeFactory(); err != nil {
		return nil, err
	}
	if a.options, err = googlesql.NewAnalyzerOptions2(); err != nil {
		return nil, err
	}
	for _, set := range []func() error{
		a.language.EnableMaximumLanguageFeatures, // what is released, and no more
		a.language.SetSupportsAllStatementKinds,
		func() error { return a.language.SetProductMode(googlesql.ProductModeProductExternal) }, // FLOAT64, no INT32 or UINT64
		func() error { return a.options.SetLanguage(a.language) },
		func() error { return a.options.SetAllowUndeclaredParameters(true) },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	return a, a.rebuild()
}

// check analyses a statement, and takes over what it makes.
func (a *analyser) check(sql string) error {
	mode := googlesql.ParameterModeParameterNamed
	if strings.Contains(sql, "?") && !strings.Contains(sql, "@") {
		mode = googlesql.ParameterModeParameterPositional
	}
	if err := a.options.SetParameterMode(mode); err != nil {
		return err
	}
	out, err := googlesql.AnalyzeStatement(sql, a.options, a.catalog, a.types)
	if err != nil {
		return err
	}
	made, err := out.ResolvedStatement()
	if err != nil {
		return err
	}
	a.keep = append(a.keep, out)
	switch s := made.(type) {
	case *googlesql.ResolvedCreateTableStmt:
		list, err := s.ColumnDefinitionList()
		if err != nil {
			return err
		}
		return a.add(s, len(list), func(i int) (c column, err error) {
			if c.name, err = list[i].Name(); err == nil {
				c.kind, err = list[i].Type()
			}
			return c, err
		})
	case *googlesql.ResolvedCreateViewStmt:
		list, err := s.OutputColumnList()
		if err != nil {
			return err
		}
		return a.add(s, len(list), func(i int) (column, error) {
			name, err := list[i].Name()
			if err != nil {
				return column{}, err
			}
			from, err := list[i].Column()
			if err != nil {
				return column{}, err
			}
			kind, err := from.Type()
			return column{name, kind}, err
		})
	}
	return nil
}

// creates is a statement that makes something with a name.
type creates interface {
	NamePath() ([]string, error)
	CreateMode() (googlesql.ResolvedCreateStatementEnums_CreateMode, error)
}

// add puts what a statement makes into the catalog: beside what is there if it is new, in its place if it replaces it.
func (a *analyser) add(s creates, n int, at func(int) (column, error)) error {
	path, err := s.NamePath()
	if err != nil {
		return err
	}
	if len(path) != 3 {
		return fmt.Errorf("%s is made, want project, dataset and table", strings.Join(path, "."))
	}
	mode, err := s.CreateMode()
	if err != nil {
		return err
	}
	name := strings.Join(path, "\x00")
	if _, there := a.tables[name]; there {
		switch mode {
		case googlesql.ResolvedCreateStatementEnums_CreateModeCreateIfNotExists:
			return nil
		case googlesql.ResolvedCreateStatementEnums_CreateModeCreateOrReplace:
		default:
			return fmt.Errorf("%s is made twice", strings.Join(path, "."))
		}
	}
	columns := make([]column, n)
	for i := range columns {
		if columns[i], err = at(i); err != nil {
			return err
		}
	}
	a.tables[name] = columns
	return a.rebuild()
}

// rebuild makes the catalog anew: the analyser's own cannot forget a table.
func (a *analyser) rebuild() error {
	root, err := a.newCatalog("root")
	if err != nil {
		return err
	}
	if err := root.AddBuiltinFunctionsAndTypes(&googlesql.BuiltinFunctionOptions{LanguageOptions: a.language}); err != nil {
		return err
	}
	// BigQuery's documented other names of its types, which the published analyser leaves to the product.
	for kind, names := range map[googlesql.TypeKind][]string{
		googlesql.TypeKindTypeInt64:      {"INT", "SMALLINT", "INTEGER", "BIGINT", "TINYINT", "BYTEINT"},
		googlesql.TypeKindTypeNumeric:    {"DECIMAL"},
		googlesql.TypeKindTypeBignumeric: {"BIGDECIMAL"},
	} {
		for _, name := range names {
			made, err := a.types.MakeSimpleType(kind)
			if err != nil {
				return err
			}
			if _, err := root.AddTypeIfNotPresent(name, made); err != nil {
				return err
			}
		}
	}
	folders := map[string]*googlesql.SimpleCatalog{"": root}
	for _, name := range slices.Sorted(maps.Keys(a.tables)) {
		path := strings.Split(name, "\x00")
		at, under := root, ""
		for _, part := range path[:2] {
			under += "\x00" + part
			if folders[under] == nil {
				c, err := a.newCatalog(part)
				if err != nil {
					return err
				}
				if err := at.AddCatalog2(part, c); err != nil {
					return err
				}
				folders[under] = c
			}
			at = folders[under]
		}
		table, err := googlesql.NewSimpleTable(path[2], 0)
		if err != nil {
			return err
		}
		for _, c := range a.tables[name] {
			made, err := googlesql.NewSimpleColumn(path[2], c.name, c.kind, false, true)
			if err != nil {
				return err
			}
			if err := table.AddColumn2(made, false); err != nil {
				return err
			}
			a.keep = append(a.keep, made)
		}
		if err := at.AddTable2(path[2], table); err != nil {
			return err
		}
		if path[0]+"."+path[1] == a.o.home {
			if err := root.AddTable2(path[2], table); err != nil {
				return err
			}
		}
		a.keep = append(a.keep, table)
	}
	project, _, _ := strings.Cut(a.o.home, ".")
	for name, c := range folders {
		dataset, ours := strings.CutPrefix(name, "\x00"+project+"\x00")
		if !ours {
			continue
		}
		if err := root.AddCatalog2(dataset, c); err != nil {
			return err
		}
		if short, _ := strings.CutPrefix(dataset, a.o.prefix); short != dataset {
			if err := root.AddCatalog2(short, c); err != nil {
				return err
			}
		}
	}
	a.catalog = root
	return nil
}

func (a *analyser) newCatalog(name string) (*googlesql.SimpleCatalog, error) {
	c, err := googlesql.NewSimpleCatalog(name, a.types)
	if err == nil {
		a.keep = append(a.keep, c)
	}
	return c, err
}
