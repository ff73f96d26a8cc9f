package web

// Words are the sentences of the pages.
var Words = words
