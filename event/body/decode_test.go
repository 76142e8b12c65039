package body_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event/body"
)

const limit = 1 << 20

func written(t testing.TB, w io.WriteCloser, buf *bytes.Buffer, text []byte) []byte {
	t.Helper()
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, text []byte) []byte {
	var buf bytes.Buffer
	return written(t, gzip.NewWriter(&buf), &buf, text)
}

func deflated(t testing.TB, text []byte) []byte {
	var buf bytes.Buffer
	return written(t, zlib.NewWriter(&buf), &buf, text)
}

func rawDeflated(t testing.TB, text []byte) []byte {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, 6)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, w, &buf, text)
}

func TestDecode(t *testing.T) {
	text := []byte(strings.Repeat(`{"event":"pageview"}`, 50) + "\xff\x00")
	random := make([]byte, 50_000)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	most := bytes.Repeat([]byte("a"), limit)
	for _, row := range []struct {
		what      string
		encodings []string
		body      []byte
		want      []byte
	}{
		{"no header", nil, text, text},
		{"an empty header", []string{""}, text, text},
		{"identity", []string{"identity"}, text, text},
		{"an empty body", nil, nil, nil},
		{"gzip", []string{"gzip"}, gzipped(t, text), text},
		{"x-gzip, spelt oddly", []string{" X-GZip\t"}, gzipped(t, text), text},
		{"gzip of nothing", []string{"gzip"}, gzipped(t, nil), nil},
		{"gzip that does not shrink", []string{"gzip"}, gzipped(t, random), random},
		{"two gzip members", []string{"gzip"}, append(gzipped(t, text), gzipped(t, random)...), append(bytes.Clone(text), random...)},
		{"deflate", []string{"deflate"}, deflated(t, text), text},
		{"deflate of nothing", []string{"deflate"}, deflated(t, nil), nil},
		{"a list in one header", []string{"deflate, identity ,, gzip"}, gzipped(t, deflated(t, text)), text},
		{"a list in two headers", []string{"gzip", "deflate"}, deflated(t, gzipped(t, text)), text},
		{"four times", []string{"gzip,gzip,gzip,gzip"}, gzipped(t, gzipped(t, gzipped(t, gzipped(t, text)))), text},
		{"as long as allowed", nil, most, most},
		{"as long as allowed, gzip", []string{"gzip"}, gzipped(t, most), most},
		{"as long as allowed, deflate", []string{"deflate"}, deflated(t, most), most},
	} {
		for range 2 { // the second time with readers that were used before
			got, reason := body.Decode(row.encodings, row.body, limit)
			if reason != "" || !bytes.Equal(got, row.want) {
				t.Errorf("%s: %d bytes, reason %q; want %d bytes", row.what, len(got), reason, len(row.want))
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	text := []byte(strings.Repeat(`{"event":"pageview"}`, 500))
	over := bytes.Repeat([]byte("a"), limit+1)
	flipped := gzipped(t, text)
	flipped[len(flipped)-8] ^= 1
	adler := deflated(t, text)
	adler[len(adler)-1] ^= 1
	for _, row := range []struct {
		what      string
		encodings []string
		body      []byte
		want      body.Reason
	}{
		{"an encoding nobody knows", []string{"br"}, text, body.UnknownEncoding},
		{"one such in a list", []string{"gzip, zstd"}, gzipped(t, text), body.UnknownEncoding},
		{"five times", []string{"gzip,gzip,gzip", "gzip,gzip"}, text, body.UnknownEncoding},
		{"not gzip", []string{"gzip"}, text, body.Undecodable},
		{"nothing as gzip", []string{"gzip"}, nil, body.Undecodable},
		{"not deflate", []string{"deflate"}, text, body.Undecodable},
		{"nothing as deflate", []string{"deflate"}, nil, body.Undecodable},
		{"deflate without its zlib frame", []string{"deflate"}, rawDeflated(t, text), body.Undecodable},
		{"gzip with a wrong checksum", []string{"gzip"}, flipped, body.Undecodable},
		{"deflate with a wrong checksum", []string{"deflate"}, adler, body.Undecodable},
		{"gzip with something after it", []string{"gzip"}, append(gzipped(t, text), "tail"...), body.Undecodable},
		{"deflate with something after it", []string{"deflate"}, append(deflated(t, text), "tail"...), body.Undecodable},
		{"gzip once, said twice", []string{"gzip, gzip"}, gzipped(t, text), body.Undecodable},
		{"one byte too long", nil, over, body.TooLarge},
		{"one byte too long, gzip", []string{"gzip"}, gzipped(t, over), body.TooLarge},
		{"one byte too long, deflate", []string{"deflate"}, deflated(t, over), body.TooLarge},
		{"too long in between", []string{"gzip, gzip"}, gzipped(t, rand16(limit+1)), body.TooLarge},
	} {
		if got, reason := body.Decode(row.encodings, row.body, limit); reason != row.want || got != nil {
			t.Errorf("%s: %d bytes, reason %q; want %q", row.what, len(got), reason, row.want)
		}
	}
	for what, encoded := range map[string][]byte{"gzip": gzipped(t, text), "deflate": deflated(t, text)} {
		for n := range encoded {
			if got, reason := body.Decode([]string{what}, encoded[:n], limit); reason != body.Undecodable || got != nil {
				t.Fatalf("%s cut to %d of %d bytes: %d bytes, reason %q", what, n, len(encoded), len(got), reason)
			}
		}
	}
}

func rand16(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%16)
	}
	return b
}

// A bomb costs what the limit allows and no more, and what a trailer claims costs nothing.
func TestBombsAreBounded(t *testing.T) {
	bomb := gzipped(t, make([]byte, 8*limit))
	bombs := append(bytes.Clone(bomb), bomb...)
	claim := gzipped(t, []byte("{}"))
	copy(claim[len(claim)-4:], []byte{0xff, 0xff, 0xff, 0x7f})
	body.Decode([]string{"gzip"}, bomb, limit) // fills the pool
	for what, row := range map[string]struct {
		encodings []string
		body      []byte
		want      body.Reason
		bytes     uint64
	}{
		"sixteen times as much": {[]string{"gzip"}, bombs, body.TooLarge, 4 * limit},
		"the same, gzip twice":  {[]string{"gzip, gzip"}, gzipped(t, bombs), body.TooLarge, 10*limit + 2*uint64(len(bombs))},
		"two GiB claimed":       {[]string{"gzip"}, claim, body.Undecodable, 256 << 10},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, reason := body.Decode(row.encodings, row.body, limit)
		runtime.ReadMemStats(&after)
		if reason != row.want {
			t.Errorf("%s: %q, want %q", what, reason, row.want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > row.bytes {
			t.Errorf("%s took %d bytes of memory, want at most %d", what, took, row.bytes)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("gzip", gzipped(f, []byte("{}")))
	f.Add("deflate", deflated(f, []byte("{}")))
	f.Add("deflate,gzip", gzipped(f, deflated(f, []byte("{}"))))
	f.Fuzz(func(t *testing.T, encoding string, data []byte) {
		const small = 4096
		got, reason := body.Decode([]string{encoding}, data, small)
		again, reasonAgain := body.Decode([]string{encoding}, data, small)
		if reason != reasonAgain || !bytes.Equal(got, again) {
			t.Errorf("decoded twice: %q %q, %q %q", got, reason, again, reasonAgain)
		}
		if len(got) > small || reason != "" && got != nil {
			t.Errorf("%d bytes, reason %q", len(got), reason)
		}
	})
}

func BenchmarkGunzip(b *testing.B) {
	encoded := gzipped(b, bytes.Repeat(event230(), 10))
	b.ReportAllocs()
	for b.Loop() {
		if _, reason := body.Decode([]string{"gzip"}, encoded, limit); reason != "" {
			b.Fatal(reason)
		}
	}
}

// The costliest bytes to decode, for their length: members of nothing.
func BenchmarkGunzipEmptyMembers(b *testing.B) {
	encoded := bytes.Repeat(gzipped(b, nil), 1<<20/23)
	b.SetBytes(int64(len(encoded)))
	for b.Loop() {
		if _, reason := body.Decode([]string{"gzip"}, encoded, limit); reason != "" {
			b.Fatal(reason)
		}
	}
}
