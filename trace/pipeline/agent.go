package pipeline

import "strings"

// agent is one line of the tables below: a user agent that holds mark is of family. Version says where its version
// stands: after this word, or after mark if it is empty.
type agent struct {
	mark, family, version string
}

// Browsers, the more particular ones first: nearly all of them claim to be Chrome and Safari too.
var browsers = []agent{
	{"Edg/", "Edge", ""}, {"EdgA/", "Edge", ""}, {"EdgiOS/", "Edge", ""}, {"Edge/", "Edge", ""},
	{"OPR/", "Opera", ""}, {"OPX/", "Opera", ""}, {"OPT/", "Opera", ""}, {"Opera Mini/", "Opera Mini", ""}, {"Opera", "Opera", "Version/"},
	{"SamsungBrowser/", "Samsung Internet", ""}, {"YaBrowser/", "Yandex", ""}, {"Vivaldi/", "Vivaldi", ""}, {"UCBrowser/", "UC Browser", ""},
	{"MiuiBrowser/", "Miui", ""}, {"DuckDuckGo/", "DuckDuckGo", ""}, {"Brave/", "Brave", ""}, {"Silk/", "Silk", ""}, {"Whale/", "Whale", ""},
	{"HuaweiBrowser/", "Huawei", ""}, {"QQBrowser/", "QQ", ""}, {"Electron/", "Electron", ""},
	{"FBAV/", "Facebook", ""}, {"Instagram ", "Instagram", ""}, {"GSA/", "Google app", ""},
	{"FxiOS/", "Firefox", ""}, {"Focus/", "Firefox", ""}, {"Firefox/", "Firefox", ""}, {"SeaMonkey/", "SeaMonkey", ""},
	{"CriOS/", "Chrome", ""}, {"HeadlessChrome/", "Chrome", ""}, {"Chromium/", "Chromium", ""}, {"Chrome/", "Chrome", ""},
	{"Trident/", "Internet Explorer", "rv:"}, {"MSIE ", "Internet Explorer", ""},
	{"Android", "Android Browser", "Version/"}, {"Safari/", "Safari", "Version/"},
	{"okhttp/", "okhttp", ""}, {"Dalvik/", "Dalvik", ""}, {"CFNetwork/", "CFNetwork", ""}, {"curl/", "curl", ""}, {"Wget/", "Wget", ""},
	{"python-requests/", "Python", ""}, {"Python-urllib/", "Python", ""}, {"aiohttp/", "Python", ""}, {"Go-http-client/", "Go", ""}, {"node-fetch", "Node", ""}, {"axios/", "Node", ""}, {"Java/", "Java", ""},
}

var systems = []agent{
	{"Windows Phone", "Windows Phone", ""}, {"Windows", "Windows", ""}, {"CrOS", "ChromeOS", ""}, {"Tizen", "Tizen", ""}, {"Web0S", "webOS", ""}, {"webOS", "webOS", ""}, {"KAIOS", "KaiOS", ""},
	{"HarmonyOS", "HarmonyOS", ""}, {"Android", "Android", ""}, {"iPhone", "iOS", ""}, {"iPad", "iPadOS", ""}, {"iPod", "iOS", ""},
	{"Macintosh", "macOS", ""}, {"Mac OS X", "macOS", ""}, {"Darwin", "Darwin", ""}, {"FreeBSD", "FreeBSD", ""}, {"OpenBSD", "OpenBSD", ""}, {"Linux", "Linux", ""}, {"X11", "Linux", ""},
}

// Signs of programs that read pages on nobody's behalf, in lower case.
var bots = []string{"bot", "crawl", "spider", "slurp", "headlesschrome", "lighthouse", "pingdom", "facebookexternalhit", "preview", "monitor", "scrapy", "phantomjs", "puppeteer", "playwright"}

// userAgent recognises a user agent by the tables. Nothing of its text is returned but up to three digits of a version.
func userAgent(text string) (browser, version, os, device string) {
	if len(text) > 1024 {
		text = text[:1024]
	}
	for _, a := range browsers {
		at := strings.Index(text, a.mark)
		if at < 0 {
			continue
		}
		browser = a.family
		from := at + len(a.mark)
		if a.version != "" {
			if at = strings.Index(text, a.version); at < 0 {
				break
			}
			from = at + len(a.version)
		}
		to := from
		for to < len(text) && to-from < 3 && '0' <= text[to] && text[to] <= '9' {
			to++
		}
		version = text[from:to]
		break
	}
	for _, a := range systems {
		if strings.Contains(text, a.mark) {
			os = a.family
			break
		}
	}
	return browser, version, os, deviceOf(text, os)
}

func deviceOf(text, os string) string {
	lower := strings.ToLower(text)
	for _, sign := range bots {
		if strings.Contains(lower, sign) {
			return "bot"
		}
	}
	switch {
	case strings.Contains(lower, "smart-tv"), strings.Contains(lower, "smarttv"), strings.Contains(lower, "appletv"), os == "webOS", strings.Contains(lower, "googletv"), strings.Contains(lower, "aft") && strings.Contains(lower, "silk"):
		return "tv"
	case os == "iPadOS", strings.Contains(lower, "tablet"), os == "Android" && !strings.Contains(text, "Mobile"):
		return "tablet"
	case os == "iOS", os == "Windows Phone", os == "KaiOS", strings.Contains(text, "Mobile"):
		return "mobile"
	case os != "" && strings.HasPrefix(text, "Mozilla/"), strings.HasPrefix(text, "Opera/"):
		return "desktop"
	}
	return ""
}
