package duckdb

import (
	"fmt"

	native "github.com/duckdb/duckdb-go-bindings"
)

var typeNames = map[native.Type]string{
	native.TypeBoolean: "BOOLEAN", native.TypeTinyInt: "TINYINT", native.TypeSmallInt: "SMALLINT", native.TypeInteger: "INTEGER",
	native.TypeBigInt: "BIGINT", native.TypeUTinyInt: "UTINYINT", native.TypeUSmallInt: "USMALLINT", native.TypeUInteger: "UINTEGER",
	native.TypeUBigInt: "UBIGINT", native.TypeFloat: "FLOAT", native.TypeDouble: "DOUBLE", native.TypeTimestamp: "TIMESTAMP",
	native.TypeDate: "DATE", native.TypeTime: "TIME", native.TypeInterval: "INTERVAL", native.TypeHugeInt: "HUGEINT",
	native.TypeUHugeInt: "UHUGEINT", native.TypeVarchar: "VARCHAR", native.TypeBlob: "BLOB", native.TypeTimestampS: "TIMESTAMP_S",
	native.TypeTimestampMS: "TIMESTAMP_MS", native.TypeTimestampNS: "TIMESTAMP_NS", native.TypeEnum: "ENUM", native.TypeStruct: "STRUCT",
	native.TypeMap: "MAP", native.TypeUUID: "UUID", native.TypeUnion: "UNION", native.TypeBit: "BIT", native.TypeTimeTZ: "TIMETZ",
	native.TypeTimestampTZ: "TIMESTAMPTZ", native.TypeBigNum: "BIGNUM", native.TypeSQLNull: "NULL", native.TypeTimeNS: "TIME_NS",
	native.TypeGeometry: "GEOMETRY", native.TypeVariant: "VARIANT",
}

// typeName is what Column.Type shows.
func typeName(l native.LogicalType) string {
	switch id := native.GetTypeId(l); id {
	case native.TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", native.DecimalWidth(l), native.DecimalScale(l))
	case native.TypeList:
		child := native.ListTypeChildType(l)
		defer native.DestroyLogicalType(&child)
		return typeName(child) + "[]"
	case native.TypeArray:
		child := native.ArrayTypeChildType(l)
		defer native.DestroyLogicalType(&child)
		return fmt.Sprintf("%s[%d]", typeName(child), native.ArrayTypeArraySize(l))
	default:
		if alias := native.LogicalTypeGetAlias(l); alias != "" {
			return alias
		}
		if name, ok := typeNames[id]; ok {
			return name
		}
		return fmt.Sprintf("TYPE %d", id)
	}
}
