package engine

import "coracle/images/layer"

// StageHandlers are what the store stage does besides unpacking and removing.
func StageHandlers() map[string]layer.Handler {
	return map[string]layer.Handler{}
}

const copyOp = "copy"

type copyRequest struct {
	Lowers []string `json:"lowers"`
	Dir    string   `json:"dir"`
}
