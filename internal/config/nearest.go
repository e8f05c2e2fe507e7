package config

import "strings"

// nearest returns the word that somebody who wrote s most likely meant, "" if
// none is near.
func nearest(s string, words []string) string {
	s = strings.ReplaceAll(strings.ToLower(clip(s)), "-", "_")
	best, least := "", 3
	for _, w := range words {
		n := distance(s, w)
		// In a short word two changes leave nothing of it.
		if n < least && n <= len(w)/2 {
			best, least = w, n
		}
	}
	if best != "" || len(s) < 3 {
		return best
	}
	for _, w := range words {
		if strings.HasPrefix(w, s) || strings.HasPrefix(s, w) {
			return w
		}
	}
	return ""
}

// distance is the number of letters to insert, delete, change or swap with
// their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(row[j]+1, last[j+1]+1, last[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
