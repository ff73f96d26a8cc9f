package api

import "bytes"

// jsonLiterals turns Python's literals into JSON's, outside of strings. One
// example of the API's seed says `"remember_me": True`; a throwaway instance
// takes it as it is written. Everywhere else it is not JSON, and refused.
func jsonLiterals(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for inString := false; len(b) > 0; {
		switch {
		case inString && b[0] == '\\' && len(b) > 1:
			out = append(out, b[0])
			b = b[1:]
		case b[0] == '"':
			inString = !inString
		case !inString:
			for python, json := range map[string]string{"True": "true", "False": "false", "None": "null"} {
				if bytes.HasPrefix(b, []byte(python)) {
					out = append(out, json...)
					b = b[len(python):]
					break
				}
			}
			if len(b) == 0 {
				return out
			}
			if b[0] == '"' { // a literal stood right before it; look at it anew
				continue
			}
		}
		out = append(out, b[0])
		b = b[1:]
	}
	return out
}
