package warehouse

import "testing"

func TestPersonIn(t *testing.T) {
	who := Person{Kind: ByUser, ID: "a/7"}
	for data, want := range map[string]bool{
		`{"userId":"a/7"}`:                          true,
		`{"userId":"a\/7"}`:                         true,
		`{"userId":"\u0061/7","userId":"b"}`:        true,
		`{"userId":"b","USERID":"a/7"}`:             true,
		`{"user\u0049d":"a/7"}`:                     true,
		`{"userId":["b",{"id":"a/7"}]}`:             true,
		`{"userId":"a/7"`:                           true, // no JSON
		`{"x":"a/7"} {`:                             true,
		`"a/7"`:                                     true,
		`{"userId":"a/77"}`:                         false,
		`{"deviceId":"a/7"}`:                        false,
		`{"properties":{"userId":"a/7"}}`:           false,
		`{"userId":null,"x":["a/7"],"y":{"z":1e9}}`: false,
		`{`: false,
		``:  false,
	} {
		if got := who.In([]byte(data)); got != want {
			t.Errorf("%s: %v", data, got)
		}
	}
	who = Person{Kind: ByDevice, ID: "12345678901234567890"}
	if !who.In([]byte(`{"deviceId":12345678901234567890}`)) || who.In([]byte(`{"deviceId":12345678901234567891}`)) {
		t.Error("an id that is a number")
	}
}
