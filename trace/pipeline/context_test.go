package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
)

func TestContext(t *testing.T) {
	p := mustPipeline(t, testConfig)
	page := func(properties string) string {
		return `{"event":"pageview","deviceId":"d","properties":{"pathname":"/",` + properties + `}}`
	}
	r := with(with(with(request(page(`"url":"https://www.example.com/a?utm_source=x&mail=jim%40example.com","referrer":"https://user:pw@search.example/find/jim@example.com?q=secret&utm_source=x#x","consent":{"analytics":true,"ads":"denied"}`)),
		"Sec-GPC", "1"), "DNT", "1"), "cf-ipcountry", "de")
	got := process(t, p, r).Events[0].Context
	want := Context{
		Browser: "Chrome", Version: "131", OS: "Windows", Device: "desktop", Language: "en-US", IP: "203.0.113.0", Country: "DE",
		Page:     "https://www.example.com/a?utm_source=x",
		Referrer: got.Referrer,
		Privacy:  Privacy{GPC: true, DNT: true, Consent: []Consent{{"ads", false}, {"analytics", true}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(got.Referrer, "https://search.example/find/(email.") || !strings.HasSuffix(got.Referrer, ")") {
		t.Errorf("referrer %q", got.Referrer)
	}

	got = process(t, p, request(page(`"url":"/relative"`))).Events[0].Context
	if got.Page != "https://www.example.com/pricing?utm_source=news" || got.Referrer != "" || got.Country != "" || got.Privacy.GPC || got.Privacy.Consent != nil {
		t.Errorf("%+v", got)
	}
	bare := request(page(`"x":1`))
	bare.Headers, bare.Client = []*event.Header{{Name: "Origin", Value: []byte("https://www.example.com")}}, nil
	if got := process(t, p, bare).Events[0].Context; !cmp.Equal(got, Context{}) {
		t.Errorf("%+v", got)
	}
	if got := process(t, p, with(request(page(`"x":1`)), "DNT", "0")).Events[0].Context; got.Privacy.DNT {
		t.Error("DNT: 0 is no signal")
	}
}

func TestConsentIsNeverAProperty(t *testing.T) {
	p := mustPipeline(t, testConfig)
	b := process(t, p, request(`{"event":"empty","deviceId":"d","properties":{"consent":{"analytics":1,"other":2}}}`))
	if len(b.Events[0].Properties) != 0 {
		t.Errorf("%v", b.Events[0].Properties)
	}
	if diff := cmp.Diff([]Unknown{{"empty", "consent.other", Unlisted}}, b.Unknown); diff != "" {
		t.Error(diff)
	}
}

func TestGrants(t *testing.T) {
	for value, want := range map[string]bool{`true`: true, `"granted"`: true, `" Yes "`: true, `1`: true, `"opt-in"`: true, `false`: false, `"denied"`: false, `0`: false, `2`: false, `"maybe"`: false, `{}`: false, `[]`: false, `""`: false} {
		if got := grants([]byte(value)); got != want {
			t.Errorf("%s: %t", value, got)
		}
	}
}

func TestTruncate(t *testing.T) {
	for client, want := range map[string]string{
		"203.0.113.9": "203.0.113.0", "2001:db8:1:2:3:4:5:6": "2001:db8:1::", "::ffff:203.0.113.9": "203.0.113.0", "fe80::1%eth0": "fe80::", "": "", "localhost": "", "203.0.113.9:80": "",
		strings.Repeat("1", 100): "",
	} {
		if got := truncate([]byte(client)); got != want {
			t.Errorf("%s: %s, want %s", client, got, want)
		}
	}
}

func TestLanguage(t *testing.T) {
	for in, want := range map[string]string{
		"en-US,en;q=0.9": "en-US", "de": "de", "DE-at;q=1": "de-AT", "zh-Hant-TW": "zh-TW", "es-419": "es", "*": "", "": "", "x-jim": "", "jim@example.com": "", "en-x-jim": "en", "english": "", "fil-PH": "fil-PH",
	} {
		if got := language([]byte(in)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestCountry(t *testing.T) {
	for in, want := range map[string]string{"DE": "DE", " us ": "US", "XX": "", "T1": "", "": "", "DEU": "", "1.": ""} {
		if got := country([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestUserAgent(t *testing.T) {
	for _, test := range []struct{ agent, want string }{
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36", "Chrome 131 Windows desktop"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Safari/605.1.15", "Safari 17 macOS desktop"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1", "Safari 17 iOS mobile"},
		{"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/120.0.6099.119 Mobile/15E148 Safari/604.1", "Chrome 120 iPadOS tablet"},
		{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36", "Chrome 120 Android mobile"},
		{"Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36", "Chrome 120 Android tablet"},
		{"Mozilla/5.0 (Linux; Android 13; SM-S901B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36", "Samsung Internet 23 Android mobile"},
		{"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0", "Firefox 121 Linux desktop"},
		{"Mozilla/5.0 (X11; CrOS x86_64 14695.107.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/102.0.0.0 Safari/537.36", "Chrome 102 ChromeOS desktop"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.2210.91", "Edge 120 Windows desktop"},
		{"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36 OPR/105.0.0.0", "Opera 105 Windows desktop"},
		{"Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer 11 Windows desktop"},
		{"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "   bot"},
		{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36", "Chrome 120 Linux bot"},
		{"curl/8.5.0", "curl 8  "},
		{"jim@example.com", "   "},
		{"", "   "},
		{"Chrome/" + strings.Repeat("4111111111111111", 3), "Chrome 411  "},
	} {
		browser, version, os, device := userAgent(test.agent)
		if got := fmt.Sprintf("%s %s %s %s", browser, version, os, device); got != test.want {
			t.Errorf("%s\n got %q\nwant %q", test.agent, got, test.want)
		}
	}
}
