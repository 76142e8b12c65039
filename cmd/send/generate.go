package send

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
)

type generator struct {
	seed uint64
	n    int
	next int
}

// Generate yields n made-up events, so that somebody without data has some. Event i depends on seed and i alone.
func Generate(seed uint64, n int) Source { return &generator{seed: seed, n: n} }

func (g *generator) Next() (Line, error) {
	if g.next == g.n {
		return Line{}, io.EOF
	}
	g.next++
	return Line{Number: g.next, Body: generate(g.seed, g.next)}, nil
}

// names are drawn by weight: real traffic is mostly page views, with a long tail.
var names = []struct {
	name   string
	weight int
}{
	{"pageview", 50}, {"click", 20}, {"search", 8}, {"add to cart", 6}, {"video played", 5}, {"signup", 3},
	{"checkout started", 3}, {"purchase", 2}, {"ページ閲覧", 1}, {"Käufe abgebrochen", 1}, {"error", 1},
}

var (
	paths    = []string{"/", "/pricing", "/docs", "/docs/install", "/blog/2026/05/a-b-c", "/cart", "/検索", "/produkte/größe"}
	queries  = []string{"shoes", "größe 42", "東京 ホテル", "naïve \"quotes\" & <tags>", "🙂🙃", "a\\b", "select * from x;"}
	sources  = []string{"https://www.google.com/", "https://news.ycombinator.com/", "", "https://例え.jp/"}
	variants = []any{nil, true, false, json.Number("0.1"), json.Number("1e3"), json.Number("12345678901234567890"), json.Number("-0.0"), "on"}
)

type generated struct {
	Event      string         `json:"event"`
	DeviceID   string         `json:"deviceId"`
	UserID     string         `json:"userId,omitempty"`
	MessageID  string         `json:"messageId,omitempty"`
	Properties map[string]any `json:"properties"`
}

func generate(seed uint64, i int) []byte {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	one := func(list []string) string { return list[r.IntN(len(list))] }
	device := r.IntN(1000)
	e := generated{Event: name(r), DeviceID: fmt.Sprintf("d-%04d", device), Properties: map[string]any{"pathname": one(paths)}}
	if device%3 == 0 {
		e.UserID = fmt.Sprintf("user%d@example.com", device)
	}
	if r.IntN(2) == 0 {
		e.MessageID = fmt.Sprintf("%016x-%d", r.Uint64(), i)
	}
	switch e.Event {
	case "pageview":
		e.Properties["referrer"] = one(sources)
		e.Properties["duration"] = r.IntN(60_000)
	case "search":
		e.Properties["query"] = one(queries)
		e.Properties["results"] = r.IntN(200)
	case "purchase", "add to cart", "checkout started":
		var items []map[string]any
		for range 1 + r.IntN(3) {
			items = append(items, map[string]any{"sku": fmt.Sprintf("SKU-%05d", r.IntN(99_999)), "quantity": 1 + r.IntN(4), "price": float64(r.IntN(20_000)) / 100})
		}
		e.Properties["items"] = items
		e.Properties["currency"] = one([]string{"EUR", "USD", "JPY"})
	default:
		e.Properties["element"] = fmt.Sprintf("button-%d", r.IntN(40))
		e.Properties["variant"] = variants[r.IntN(len(variants))]
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return body
}

func name(r *rand.Rand) string {
	total := 0
	for _, n := range names {
		total += n.weight
	}
	draw := r.IntN(total)
	for _, n := range names {
		if draw -= n.weight; draw < 0 {
			return n.name
		}
	}
	panic("the weights do not add up")
}
