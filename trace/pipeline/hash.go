package pipeline

import (
	"crypto/sha256"
	"encoding/base32"
	"hash"
)

// hash returns the keyed hash of text: 26 characters of [a-z2-7], 128 bits. kind keeps hashes of different things
// apart.
func (c *scrubber) hash(kind string, parts ...[]byte) string {
	mac := c.macs.Get().(hash.Hash)
	defer c.macs.Put(mac)
	mac.Reset()
	mac.Write([]byte(kind))
	for _, part := range parts {
		// Lengths keep ("ab", "c") and ("a", "bc") apart.
		mac.Write([]byte{0, byte(len(part) >> 24), byte(len(part) >> 16), byte(len(part) >> 8), byte(len(part))})
		mac.Write(part)
	}
	var sum [sha256.Size]byte
	return lowerBase32.EncodeToString(mac.Sum(sum[:0])[:16])
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
