package api

import (
	"maps"

	"propusk/internal/account"
)

// AllCodes gives the face's own codes and those of the rules, with their words.
func AllCodes() map[account.Code]account.Words {
	all := maps.Clone(codes)
	maps.Copy(all, account.Codes)
	return all
}
