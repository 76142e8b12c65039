package pipeline

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// testScrubber masks with every rule, so that results can be written down.
func testScrubber(s Scrub) *scrubber {
	c := Config{Scrub: s}
	c.Normalise()
	return newScrubber(c.Scrub, []byte("a secret of the tests"))
}

func masks() map[string]Action {
	all := DefaultRules()
	for name := range all {
		if name != RuleURL {
			all[name] = Mask
		}
	}
	return all
}

// The secrets below are made up, or are the vendors' own examples, and are put together here so that no scanner of
// repositories takes them for real ones.
func secret(parts ...string) string { return strings.Join(parts, "") }

func TestScrubberFinds(t *testing.T) {
	s := testScrubber(Scrub{Rules: masks()})
	jwt := secret("eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0NTY3ODkwIn0", ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U")
	for _, test := range []struct{ name, in, want string }{
		{"address", "john@example.com", "(email)"},
		{"address in a sentence", "Write to john.doe+news@mail.example.co.uk, please.", "Write to (email), please."},
		{"two addresses", "a@example.com;b@example.com", "(email);(email)"},
		{"address between bars", "[[User:a@example.com|a@example.com]]", "[[User:(email)|(email)]]"},
		{"address in quotes", "'o'brien@example.com'", "'(email)'"},
		{"quoted local part", `"john doe"@example.com`, "(email)"},
		{"address in other scripts", "用户@例子.公司", "(email)"},
		{"address with international domain", "info@xn--bcher-kva.xn--p1ai", "(email)"},
		{"mailto", "mailto:john@example.com?subject=x", "mailto:(email)?subject=x"},
		{"percent-encoded at", "john%40example.com", "(email)"},
		{"percent-encoded twice", "john%2540example%252Ecom", "(email)"},
		{"percent-encoded thrice", "john%252540example.com", "(email)"},
		{"escape in a text", `{"mail":"john\u0040example.com"}`, `{"mail":"(email)"}`},
		{"hexadecimal escape", `john\x40example.com`, "(email)"},
		{"character reference", "john&#64;example.com and jim&#x40;example.com and joe&commat;example&period;com", "(email) and (email) and (email)"},
		{"full-width", "john＠example．com", "(email)"},
		{"without width", "jo\u200bhn@exam\u00adple.com", "(email)"},
		{"address in a path", "/users/john@example.com/edit", "/users/(email)/edit"},

		{"card", "4111111111111111", "(card)"},
		{"card in groups", "pay 4111 1111 1111 1111 now", "pay (card) now"},
		{"card with dashes", "5500-0000-0000-0004", "(card)"},
		{"card with no-break spaces", "3400\u00a0000000\u00a000009", "(card)"},
		{"card with dots", "4111.1111.1111.1111", "(card)"},
		{"card and its end date", "4111 1111 1111 1111 12/29", "(card) 12/29"},
		{"card behind another number", "12 4111 1111 1111 1111", "12 (card)"},
		{"card in a word", "card4111111111111111x", "card(card)x"},
		{"card, plus for space", "4111+1111+1111+1111", "(card)"},
		{"card percent-encoded", "4111%201111%201111%201111", "(card)"},
		{"card in full-width digits", "４１１１１１１１１１１１１１１１", "(card)"},
		{"card after forty numbers", strings.Repeat("1 ", 38) + "4111 1111 1111 1111", strings.Repeat("1 ", 38) + "(card)"},
		{"card that runs into an address", "4111 1111 1111 1111@example.com", "(card)"},
		{"two cards", "4111111111111111,5500000000000004", "(card),(card)"},
		{"Amex, Diners, Discover, JCB, UnionPay, Maestro", "378282246310005 30569309025904 6011111111111117 3530111333300000 6250946000000016 6759649826438453",
			"(card) (card) (card) (card) (card) (card)"},

		{"JWT", "token is " + jwt, "token is (token)"},
		{"JWT in a path", "/verify/" + jwt + ",x", "/verify/(token),x"},
		{"AWS key id", "x AKIAIOSFODNN7EXAMPLE y", "x (token) y"},
		{"AWS secret", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "(entropy)"},
		{"Stripe", secret("sk_", "live_4eC39HqLyjWDarjtT1zdp7dc"), "(token)"},
		{"Stripe webhook", secret("whsec_", "4eC39HqLyjWDarjtT1zdp7dc"), "(token)"},
		{"Google", secret("AI", "zaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe"), "(token)"},
		{"Google OAuth", secret("ya2", "9.a0AfH6SMBx7u1Z9zQm3Jp"), "(token)"},
		{"GitHub", secret("gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"), "(token)"},
		{"GitHub, fine-grained", secret("github", "_pat_11AAAAAAA0abcdefghij_klmnopqrstuv"), "(token)"},
		{"Slack", secret("xo", "xb-123456789012-abcdefABCDEF"), "(token)"},
		{"Slack webhook", secret("https://hooks.sla", "ck.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"), "https://(token)"},
		{"Bearer", "Authorization: Bearer abc123def456", "Authorization: Bearer (token)"},
		{"bearer with plus", "bearer+abc123def456", "bearer+(token)"},
		{"Basic", "Basic " + base64.StdEncoding.EncodeToString([]byte("aladdin:opensesame")), "Basic (token)"},
		{"private key", "x -----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY----- y", "x (token) y"},
		{"private key cut short", "-----BEGIN PRIVATE KEY-----\nMIIEow", "(token)"},

		{"password in a form", "user=jim&password=hunter2&x=1", "user=jim&password=(credential)&x=1"},
		{"password in JSON in a text", `{"password": "hunter2","a":1}`, `{"password": "(credential)","a":1}`},
		{"escaped JSON", `{\"api_key\":\"hunter2\"}`, `{\"api_key\":\"(credential)\"}`},
		{"secret in a sentence", "the client secret: hunter2!", "the client secret: (credential)"},
		{"password percent-encoded", "a%26password%3Dhunter2", "a%26password%3D(credential)"},
		{"bracketed password", "user[password]=hunter2", "user[password]=(credential)"},

		{"hexadecimal", "id d41d8cd98f00b204e9800998ecf8427e.", "id (entropy)."},
		{"hexadecimal in a path", "/reset/d41d8cd98f00b204e9800998ecf8427e/go", "/reset/(entropy)/go"},
		{"base64", "pWAkITyQ3CN7332UqQxnH6p3FV8VJd7pY647EdNkxWc", "(entropy)"},
		{"base36", "Dw7cvdkr2r37wpmfjuce5yjz7a7jw2qf", "(entropy)"},

		{"IPv4", "from 203.0.113.9.", "from (ip)."},
		{"IPv4 and port", "203.0.113.9:8080", "(ip):8080"},
		{"IPv4 in a path", "/client/203.0.113.9/x", "/client/(ip)/x"},
		{"IPv4 percent-encoded", "203%2E0%2E113%2E9", "(ip)"},
		{"IPv4 as a host", "http://203.0.113.9/x", "http://(ip)/x"},
		{"IPv6", "at 2001:db8::1.", "at (ip)."},
		{"IPv6, long", "2001:0db8:0000:0000:0000:ff00:0042:8329", "(ip)"},
		{"IPv6 after a word", "addr:2001:db8::1", "addr:(ip)"},
		{"IPv6 in brackets", "http://[2001:db8::1]:80/", "http://[(ip)]:80/"},
		{"IPv6 percent-encoded", "2001%3Adb8%3A%3A1", "(ip)"},
		{"IPv4 in IPv6", "::ffff:203.0.113.9", "(ip)"},

		{"query", "https://example.com/p?token=a&utm_source=b&id=3", "https://example.com/p?utm_source=b"},
		{"whole query", "see https://example.com/p?id=3 and more", "see https://example.com/p and more"},
		{"kept ones only", "https://example.com/?utm_id=1&a=1&utm_term=2&b=2", "https://example.com/?utm_id=1&utm_term=2"},
		{"user information", "https://jim:hunter2@example.com/", "https://example.com/"},
		{"fragment as a query", "https://example.com/cb#access_token=abc&state=x", "https://example.com/cb"},
		{"fragment as a route", "https://example.com/#/users?name=jim", "https://example.com/#/users"},
		{"plain fragment", "https://example.com/#pricing", "https://example.com/#pricing"},
		{"relative", "/reset?code=123#top", "/reset#top"},
		{"without scheme", "//example.com/p?id=3", "//example.com/p"},
		{"session in the path", "https://example.com/a;jsessionid=1A2B/b", "https://example.com/a/b"},
		{"URL in a kept parameter", "https://example.com/?utm_source=https%3A%2F%2Fx.example%2F%3Fname%3Djim", "https://example.com/?utm_source=https%3A%2F%2Fx.example%2F"},
		{"encoded URL in a text", "next=https%3A%2F%2Fx.example%2Fp%3Fname%3Djim", "next=https%3A%2F%2Fx.example%2Fp"},
		{"address in a kept parameter", "https://example.com/?utm_source=john%40example.com", "https://example.com/?utm_source=(email)"},
		{"at sign in a path", "https://example.com/@jim", "https://example.com/@jim"},
		{"URLs in URLs without end", "https://a/" + strings.Repeat("?utm_id=https://a/", 12), "https://a/" + strings.Repeat("?utm_id=https://a/", 7) + "?utm_id=https://"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := s.scrub([]byte(test.in), s.on, false)
			if string(r.text) != test.want {
				t.Errorf("%s\n got %s\nwant %s", test.in, r.text, test.want)
			}
			if changed := string(r.text) != test.in; changed != (r.touched != 0) {
				t.Errorf("touched %q, changed %t", s.touchedNames(r.touched), changed)
			}
		})
	}
}

// What is none of our business must stay as it is: each of these is a false alarm of some simpler rule.
func TestScrubberLeaves(t *testing.T) {
	s := testScrubber(Scrub{Rules: masks()})
	for _, text := range []string{
		"", "a", "Zürich", "plain words", "@handle", "a @ b", "react@18.2.0", "user@localhost",
		"1694769302325",        // milliseconds
		"1694769302325000",     // microseconds
		"4111111111111112",     // wrong checksum
		"41111111111111111111", // too many digits
		"14.912280701754385",   // a fraction
		"23000213512143300",    // an id
		"2026-01-15T12:00:00Z", // a time
		"+49 30 901820",        // short
		"12:34:56", "1:2", "a::b::c", "std::vector", "::",
		"1.2.3", "1.2.3.4.5", "999.1.1.1", "v1.2.3",
		"Mozilla/5.0 (X11; CrOS x86_64 14695.107.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/102.0.0.0 Safari/537.36",
		"018f3a52-7c1e-7d3a-9b52-0c1f6d2e8a41", // a UUID
		"/shuttle/technology/sts-newsref/sts_asm.html", "https://www.example.com/a/b/c.html",
		"User:AlexNewArtBot/19thCenturySearchResult",
		"this-is-a-slug-with-many-words-and-2-numbers-in-2026", "SOME_CONSTANT_NAME_THAT_IS_LONG_AND_LOUD_V2",
		"00000000000000000000000000000000", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"bearer of news", "basic plan", "the token", "password", "Password?", `"token": null`, "secretary: yes",
		"100% sure", "50%40", "R&D", "a&b;c", `C:\users\x`, "日本語。テキスト", "skill-based-matching-of-people", "task-force",
		"tokens:", "https://example.com/?", "//", "/", "?",
	} {
		if r := s.scrub([]byte(text), s.on, false); r.touched != 0 && text != "https://example.com/?" {
			t.Errorf("%q: %s found something: %q", text, s.touchedNames(r.touched), r.text)
		}
	}
}

func TestScrubberHashesAlikeWhatIsAlike(t *testing.T) {
	s := testScrubber(Scrub{})
	hashOf := func(text string) string {
		r := s.scrub([]byte(text), s.on, false)
		_, rest, ok := strings.Cut(string(r.text), "(email.")
		if !ok || len(rest) < 27 {
			t.Fatalf("%q became %q", text, r.text)
		}
		return rest[:26]
	}
	want := hashOf("john@example.com")
	for _, same := range []string{"John@Example.COM", "mailto:john@example.com", "john%40example.com", "x%20john%40example.com", "john＠example.com", `"john\u0040example.com"`, "/u/john%2540example.com/"} {
		if got := hashOf(same); got != want {
			t.Errorf("%q has another hash", same)
		}
	}
	if hashOf("jim@example.com") == want {
		t.Error("two addresses have one hash")
	}
	other := newScrubber(func() Scrub { c := Config{}; c.Normalise(); return c.Scrub }(), []byte("another secret of the tests"))
	if r := other.scrub([]byte("john@example.com"), other.on, false); strings.Contains(string(r.text), want) {
		t.Error("the hash does not depend on the secret")
	}
	if a, b := s.hash("k", []byte("a\x00b"), []byte("c")), s.hash("k", []byte("a"), []byte("b\x00c")); a == b {
		t.Error("parts run into each other")
	}
}

func TestScrubberActions(t *testing.T) {
	for _, test := range []struct {
		action Action
		want   string
		drop   bool
	}{
		{Mask, "a (email) b", false},
		{Off, "a jim@example.com b", false},
		{Cut, "", true},
	} {
		s := testScrubber(Scrub{Rules: map[string]Action{RuleEmail: test.action}})
		r := s.scrub([]byte("a jim@example.com b"), s.on, false)
		if r.drop != test.drop || !test.drop && string(r.text) != test.want {
			t.Errorf("%s: %q, drop %t", test.action, r.text, r.drop)
		}
	}
}

func TestOwnPatterns(t *testing.T) {
	s := testScrubber(Scrub{Patterns: []Pattern{{Name: "customer", Match: `KD-\d{6}`, Action: Mask}, {Name: "plate", Match: `[A-Z]{1,3}-[A-Z]{2} \d{1,4}`}, {Name: "dog", Match: "dog"}}})
	for in, want := range map[string]string{
		"for KD-123456!":      "for (customer)!",
		"KD%2D123456":         "(customer)",
		"B-AB 123 KD-1234567": "(plate) (customer)7",
		"KD-12345":            "KD-12345",
		"dog":                 "(dog)",
	} {
		if r := s.scrub([]byte(in), s.on, false); string(r.text) != want {
			t.Errorf("%q became %q, want %q", in, r.text, want)
		}
	}
	if r := s.scrub([]byte("KD-123456"), s.without([]string{"customer"}), false); string(r.text) != "KD-123456" {
		t.Errorf("keep does not keep: %q", r.text)
	}
}

// Whatever overlaps, no part of a finding may survive beside another.
func TestOverlappingFindingsLeaveNothing(t *testing.T) {
	s := testScrubber(Scrub{Rules: masks()})
	for _, text := range []string{
		"password=john@example.com", "Bearer john@example.com12", "token=4111111111111111", "secret=203.0.113.9", "https://user:john@example.com@host.example/",
		"api_key=d41d8cd98f00b204e9800998ecf8427e", "password=a%40example.com",
	} {
		r := s.scrub([]byte(text), s.on, false)
		for _, left := range []string{"john", "example.com", "4111", "203.0", "d41d8", "a%40"} {
			if strings.Contains(text, left) && strings.Contains(string(r.text), left) && !strings.Contains(text, "host.example") {
				t.Errorf("%q became %q", text, r.text)
			}
		}
	}
}

func TestScrubTwiceIsScrubOnce(t *testing.T) {
	for _, rules := range []map[string]Action{masks(), nil} {
		s := testScrubber(Scrub{Rules: rules})
		rng := mathrand.New(mathrand.NewPCG(1, 2))
		pieces := []string{"john@example.com", "4111 1111 1111 1111", "Bearer abc123def456", "password=", "hunter2", "203.0.113.9", "2001:db8::1", "https://u:p@x.example/?a=b", "&utm_id=", "%40", " ", "d41d8cd98f00b204e9800998ecf8427e", "(email)", "x", "\"", ":", "ü"}
		for range 20_000 {
			var text []byte
			for range 1 + rng.IntN(6) {
				text = append(text, pieces[rng.IntN(len(pieces))]...)
			}
			once := s.scrub(text, s.on, false)
			twice := s.scrub(once.text, s.on, false)
			if rules != nil && !bytes.Equal(once.text, twice.text) {
				t.Fatalf("%q\nonce  %q\ntwice %q", text, once.text, twice.text)
			}
			if again := s.scrub(text, s.on, false); !bytes.Equal(again.text, once.text) {
				t.Fatalf("%q: two results", text)
			}
			if !utf8.Valid(once.text) {
				t.Fatalf("%q: became invalid UTF-8 %q", text, once.text)
			}
		}
	}
}

// Random secrets must be found by their randomness nearly always; the rate of misses is stated, not hidden.
func TestEntropyFindsRandomSecrets(t *testing.T) {
	s := testScrubber(Scrub{Rules: masks()})
	source := mathrand.NewChaCha8([32]byte{1})
	random := func(n int) []byte {
		b := make([]byte, n)
		source.Read(b)
		return b
	}
	for _, test := range []struct {
		name   string
		make   func() string
		misses int // of 10,000
	}{
		{"32 characters of base64url", func() string { return base64.RawURLEncoding.EncodeToString(random(24)) }, 400},
		{"32 hexadecimal digits", func() string { return hex.EncodeToString(random(16)) }, 20},
		{"40 hexadecimal digits", func() string { return hex.EncodeToString(random(20)) }, 5},
		{"43 characters of base64url", func() string { return base64.RawURLEncoding.EncodeToString(random(32)) }, 30},
		{"64 characters of base64", func() string { return base64.StdEncoding.EncodeToString(random(48)) }, 10},
	} {
		missed := 0
		for range 10_000 {
			text := test.make()
			if r := s.scrub([]byte("x "+text+" y"), s.on, false); strings.Contains(string(r.text), text[:16]) {
				missed++
			}
		}
		t.Logf("%s: %d of 10,000 missed", test.name, missed)
		if missed > test.misses {
			t.Errorf("%s: %d of 10,000 missed, at most %d are expected", test.name, missed, test.misses)
		}
	}
}

// FuzzScrub: no panic, valid UTF-8 stays valid, and a secret planted between any two texts is gone.
func FuzzScrub(f *testing.F) {
	for _, seed := range []string{"", "a", "%", "%4", "\\u004", "&#", "https://", "?", ";", "\"", "password", "＠", "4111", "::", "//"} {
		f.Add(seed, seed)
	}
	s := testScrubber(Scrub{Rules: masks()})
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, planted := range []string{" 4111 1111 1111 1111 ", " john.doe.planted@example.com ", " 198.51.100.77 "} {
			r := s.scrub([]byte(before+planted+after), s.on, false)
			if strings.Contains(string(r.text), strings.TrimSpace(planted)) {
				t.Errorf("%q survives in %q", planted, r.text)
			}
			if utf8.ValidString(before) && utf8.ValidString(after) && !utf8.Valid(r.text) {
				t.Errorf("%q %q: invalid UTF-8", before, after)
			}
		}
		s.scrub([]byte(url.QueryEscape(before)+fmt.Sprintf("\\u%04x", len(after))+after), s.on, true)
	})
}
