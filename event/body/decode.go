package body

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
)

// maxCodings is how many encodings may be stacked on one body. Nobody means more than one.
const maxCodings = 4

// Decode undoes the encodings that the request's Content-Encoding headers name, one element of encodings for each
// header. The result, after each step, has at most limit bytes; what would be longer costs no more than reading that
// far. It is body itself if there is nothing to undo.
func Decode(encodings []string, body []byte, limit int) ([]byte, Reason) {
	codings, ok := parseCodings(encodings)
	if !ok {
		return nil, UnknownEncoding
	}
	for i := len(codings) - 1; i >= 0; i-- { // listed in the order in which they were applied
		var reason Reason
		if body, reason = codings[i](body, limit); reason != "" {
			return nil, reason
		}
	}
	if len(body) > limit {
		return nil, TooLarge
	}
	return body, ""
}

// coding undoes one encoding.
type coding func(body []byte, limit int) ([]byte, Reason)

// parseCodings reads comma-separated names (RFC 9110, section 8.4). Several headers are one list.
func parseCodings(encodings []string) (codings []coding, ok bool) {
	for _, header := range encodings {
		for name := range strings.SplitSeq(header, ",") {
			switch strings.ToLower(strings.Trim(name, " \t")) {
			case "", "identity":
				continue
			case "gzip", "x-gzip":
				codings = append(codings, gunzip)
			case "deflate":
				codings = append(codings, inflate)
			default:
				return nil, false
			}
			if len(codings) > maxCodings {
				return nil, false
			}
		}
	}
	return codings, true
}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

func gunzip(body []byte, limit int) ([]byte, Reason) {
	z := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(z)
	if err := z.Reset(bytes.NewReader(body)); err != nil {
		return nil, Undecodable
	}
	hint := 0
	if len(body) >= 4 { // the trailer says how long the text is, modulo 2^32 and as far as it can be trusted
		hint = int(binary.LittleEndian.Uint32(body[len(body)-4:]))
	}
	return readAll(z, len(body), hint, limit)
}

var zlibReaders sync.Pool // of what zlib.NewReader returns, which always is a zlib.Resetter too

func inflate(body []byte, limit int) ([]byte, Reason) {
	src := bytes.NewReader(body)
	z, ok := zlibReaders.Get().(io.ReadCloser)
	var err error
	if ok {
		err = z.(zlib.Resetter).Reset(src, nil)
	} else {
		z, err = zlib.NewReader(src)
	}
	if err != nil {
		return nil, Undecodable
	}
	defer zlibReaders.Put(z)
	text, reason := readAll(z, len(body), 0, limit)
	if reason == "" && src.Len() > 0 { // unlike gzip, zlib has no say about what follows
		return nil, Undecodable
	}
	return text, reason
}

// readAll reads r to its end. hint is how long the text may be; what it may claim is bounded by the encoded length, so
// that a small body cannot make us set aside much.
func readAll(r io.Reader, encoded, hint, limit int) ([]byte, Reason) {
	size := min(max(hint, encoded), 16*encoded, limit) + 1 // one more byte to see the end, or too much
	text := make([]byte, 0, size)
	for {
		n, err := r.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case len(text) > limit:
			return nil, TooLarge
		case err == io.EOF:
			return text, ""
		case err != nil:
			return nil, Undecodable
		}
		if len(text) == cap(text) {
			grown := make([]byte, len(text), min(2*cap(text)+512, limit+1))
			copy(grown, text)
			text = grown
		}
	}
}
