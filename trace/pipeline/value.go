package pipeline

// kind is the type of a JSON value, known from its first byte.
type kind byte

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// kindOf returns the kind of a valid JSON value without leading space.
func kindOf(value []byte) kind {
	switch value[0] {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindString
	case 't', 'f':
		return kindBool
	case 'n':
		return kindNull
	}
	return kindNumber
}

func (k kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "array", "object"}[k]
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// endOfString returns the index after the string that begins at b[i] == '"'; -1 if it is none.
func endOfString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
			if i == len(b) {
				return -1
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := hex4(b, i+1); !ok {
					return -1
				}
				i += 4
			default:
				return -1
			}
		case c < ' ':
			return -1
		}
	}
	return -1
}

// endOfNumber returns the index after the number that begins at b[i]; -1 if it is none.
func endOfNumber(b []byte, i int) int {
	digits := func() bool {
		from := i
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}

// endOfValue returns the index after the JSON value that begins at b[i]; notJSON if there is none, tooDeep if it nests
// deeper than depth. It is iterative: a client cannot choose how much stack we use.
func endOfValue(b []byte, i, depth int) int {
	var buf [64]byte
	open := buf[:0] // the brackets we are in, as their closing bytes
	for {
		// A value is expected at b[i].
		if i = space(b, i); i == len(b) {
			return notJSON
		}
		switch c := b[i]; c {
		case '{', '[':
			if len(open) == depth {
				return tooDeep
			}
			closing := c + 2 // in ASCII, both closing brackets come two after the opening ones
			if j := space(b, i+1); j < len(b) && b[j] == closing {
				i = j + 1
				break
			}
			open = append(open, closing)
			i++
			if c == '{' {
				if i = member(b, i); i < 0 {
					return notJSON
				}
			}
			continue
		case '"':
			i = endOfString(b, i)
		case 't':
			i = literal(b, i, "true")
		case 'f':
			i = literal(b, i, "false")
		case 'n':
			i = literal(b, i, "null")
		default:
			i = endOfNumber(b, i)
		}
		if i < 0 {
			return notJSON
		}
		// A value has just ended before b[i].
		for {
			if len(open) == 0 {
				return i
			}
			if i = space(b, i); i == len(b) {
				return notJSON
			}
			if b[i] != open[len(open)-1] {
				break
			}
			open = open[:len(open)-1]
			i++
		}
		if b[i] != ',' {
			return notJSON
		}
		i++
		if open[len(open)-1] == '}' {
			if i = member(b, i); i < 0 {
				return notJSON
			}
		}
	}
}

const (
	notJSON = -1
	tooDeep = -2
)

// member returns the index after the key and colon that begin at or after b[i]; -1 if there are none.
func member(b []byte, i int) int {
	i = space(b, i)
	if i == len(b) || b[i] != '"' {
		return -1
	}
	if i = endOfString(b, i); i < 0 {
		return -1
	}
	i = space(b, i)
	if i == len(b) || b[i] != ':' {
		return -1
	}
	return i + 1
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// anyDepth is deep enough for every value that has passed the depth limit.
const anyDepth = 1 << 20

// members calls f with the key, still quoted, and the value of each member of a valid object, in its order, until f
// returns false.
func members(object []byte, f func(key, value []byte) bool) {
	i := space(object, 1)
	for i < len(object) && object[i] == '"' {
		end := endOfString(object, i)
		key := object[i:end]
		i = space(object, end)
		i = space(object, i+1) // the colon
		end = endOfValue(object, i, anyDepth)
		if !f(key, object[i:end]) {
			return
		}
		i = space(object, end)
		if object[i] == '}' {
			return
		}
		i = space(object, i+1) // the comma
	}
}

// elements calls f with each element of a valid array, in its order, until f returns false.
func elements(array []byte, f func(value []byte) bool) {
	i := space(array, 1)
	for i < len(array) && array[i] != ']' {
		end := endOfValue(array, i, anyDepth)
		if !f(array[i:end]) {
			return
		}
		i = space(array, end)
		if array[i] == ',' {
			i = space(array, i+1)
		}
	}
}
