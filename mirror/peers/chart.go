package main

import (
	"bytes"
	"fmt"
	"slices"
)

var colours = []string{"#1f6f54", "#7fb89f", "#b0552d", "#d9b9a6"}

// chart draws requests per second as grouped bars: a group for each number of connections.
func chart(conns []int, variants []*variant, cells map[string]map[int]*cell) []byte {
	const width, height, left, top, bottom = 760, 340, 70, 50, 50
	var peak float64
	for _, v := range variants {
		for _, c := range conns {
			peak = max(peak, median(cells[v.name][c].rates))
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Requests per second by proxy and number of connections">`, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`, width, height)
	plot := float64(height - top - bottom)
	for i := range 5 {
		v := peak * float64(i) / 4
		y := float64(height-bottom) - plot*float64(i)/4
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end" fill="#555">%.0f</text>`, left, width-10, y, y, left-8, y+4, v)
	}
	group := float64(width-left-10) / float64(len(conns))
	bar := group * 0.8 / float64(len(variants))
	for g, c := range conns {
		x0 := float64(left) + group*float64(g) + group*0.1
		for i, v := range variants {
			h := plot * median(cells[v.name][c].rates) / peak
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s, %d connections: %.0f requests/s</title></rect>`,
				x0+bar*float64(i), float64(height-bottom)-h, bar-2, h, colours[i%len(colours)], v.name, c, median(cells[v.name][c].rates))
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#333">%d connections</text>`, x0+group*0.4, height-bottom+18, c)
	}
	x := left
	for i, v := range slices.All(variants) {
		fmt.Fprintf(&b, `<rect x="%d" y="18" width="12" height="12" fill="%s"/><text x="%d" y="28" fill="#333">%s</text>`, x, colours[i%len(colours)], x+17, v.name)
		x += 40 + 8*len(v.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
