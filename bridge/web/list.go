package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/promscope/promscope/bridge/view"
)

// list is a part of a table: what a request asks to see of it.
type list[T any] struct {
	Items []T
	// Total is the size of the table, Matched how much of it the filter lets
	// through, First the number of the first item, from 1.
	Total, Matched, First int
	Page, Pages           int
	Filter                filter
	Chips                 []chip
}

// Last is the number of the last item.
func (l list[T]) Last() int { return l.First + len(l.Items) - 1 }

// Previous and Next are links to the neighbouring pages; empty at the ends.
func (l list[T]) Previous() string {
	if l.Page <= 1 {
		return ""
	}
	return l.Filter.link(l.Filter.Choice, l.Page-1)
}

// Next is the link to the next page.
func (l list[T]) Next() string {
	if l.Page >= l.Pages {
		return ""
	}
	return l.Filter.link(l.Filter.Choice, l.Page+1)
}

// chip is a choice that narrows a table to one kind of items.
type chip struct {
	Value string // the choice's; empty for all
	Text  string
	Count int
	Link  string
	On    bool
	Class string
}

// filter is what a request asks for: a text that items must contain, all of its
// words, and a choice among their kinds.
type filter struct {
	path   string
	Text   string
	Choice string
	words  []string
	page   int
}

func newFilter(r *http.Request) filter {
	text := strings.TrimSpace(r.FormValue("q"))
	page, err := strconv.Atoi(r.FormValue("page"))
	if err != nil {
		page = 1
	}
	return filter{
		path:   strings.TrimPrefix(r.URL.Path, "/"),
		Text:   text,
		Choice: r.FormValue("show"),
		words:  strings.Fields(strings.ToLower(text)),
		page:   page,
	}
}

// Path is the table's page.
func (f filter) Path() string { return f.path }

// link is the address of a page of the same table.
func (f filter) link(choice string, page int) string {
	query := url.Values{}
	if f.Text != "" {
		query.Set("q", f.Text)
	}
	if choice != "" {
		query.Set("show", choice)
	}
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	if len(query) == 0 {
		return f.path
	}
	return f.path + "?" + query.Encode()
}

// match tells whether the texts contain every word of the filter, each word in
// any of them.
func (f filter) match(texts ...string) bool {
	for _, word := range f.words {
		if !slices.ContainsFunc(texts, func(text string) bool { return containsFold(text, word) }) {
			return false
		}
	}
	return true
}

// containsFold tells whether text contains word, which is in lower case.
func containsFold(text, word string) bool {
	for i := 0; i+len(word) <= len(text); i++ {
		if strings.EqualFold(text[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

// matchLabels is match with the labels among the texts.
func (f filter) matchLabels(labels view.Labels, texts ...string) bool {
	if len(f.words) == 0 {
		return true
	}
	for name, value := range labels {
		texts = append(texts, name+"="+value)
	}
	return f.match(texts...)
}

// kind is one of the kinds that a table's items can be of.
type kind struct{ Value, Text, Class string }

// choose puts together the part of a table that the filter lets through, size
// items of it. The chips count what the text of the filter matches, so that
// they tell what choosing them would show.
func choose[T any](f filter, items []T, size int, kinds []kind, of func(T) string, match func(T) bool) list[T] {
	l := list[T]{Total: len(items), Filter: f}
	counts := map[string]int{}
	matched := 0
	chosen := items[:0:0]
	for _, item := range items {
		if len(f.words) > 0 && !match(item) {
			continue
		}
		matched++
		k := of(item)
		counts[k]++
		if f.Choice == "" || f.Choice == k {
			chosen = append(chosen, item)
		}
	}
	l.Chips = append(l.Chips, chip{Text: "All", Count: matched, Link: f.link("", 1), On: f.Choice == ""})
	for _, k := range kinds {
		if counts[k.Value] > 0 || f.Choice == k.Value {
			l.Chips = append(l.Chips, chip{
				Value: k.Value, Text: k.Text, Count: counts[k.Value], Class: k.Class,
				Link: f.link(k.Value, 1), On: f.Choice == k.Value,
			})
		}
	}
	l.Matched = len(chosen)
	l.Pages = max(1, (len(chosen)+size-1)/size)
	l.Page = min(max(1, f.page), l.Pages)
	from := (l.Page - 1) * size
	l.Items = chosen[from:min(from+size, len(chosen))]
	l.First = from + 1
	return l
}
