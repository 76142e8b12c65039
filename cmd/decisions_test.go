package cmd

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/mirror"
)

// fill sets every field below v to something that is not its zero value.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Map:
		element := reflect.New(v.Type().Elem()).Elem()
		fill(element, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(event.Blue), element)
	case reflect.String:
		v.SetString("text" + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	default:
		v.SetUint(uint64(*n))
	}
}

// What the mirror says must reach compare and deploy whole: a field that only one of them knows would be lost between
// them without an error, and a verdict would rest on its absence.
func TestWhatTheMirrorSaysIsUnderstoodWhole(t *testing.T) {
	for _, c := range []struct{ says, reads any }{
		{&mirror.Status{}, &compare.Status{}},
		{&mirror.Ledger{}, &compare.Ledger{}},
	} {
		n := 0
		fill(reflect.ValueOf(c.says).Elem(), &n)
		said, err := json.Marshal(c.says)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(said))
		dec.DisallowUnknownFields()
		if err := dec.Decode(c.reads); err != nil {
			t.Fatalf("%T as %T: %v", c.says, c.reads, err)
		}
		if err := reread(c.says, c.reads); err != nil {
			t.Fatal(err)
		}
		var want, got any
		read, err := json.Marshal(c.reads)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(said, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(read, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T as %T:\n%s", c.says, c.reads, diff)
		}
	}
}
