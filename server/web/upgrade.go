package web

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// Refusal is the answer to an upgrade that is not one.
type Refusal struct {
	Status  int
	Message string
	Header  [2]string // name and value; empty: none
}

func (f *Refusal) write(w http.ResponseWriter) {
	if f.Header[0] != "" {
		w.Header().Set(f.Header[0], f.Header[1])
	}
	if f.Status == http.StatusUpgradeRequired {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Add("Connection", "Upgrade")
	}
	http.Error(w, f.Message, f.Status)
}

// CheckUpgrade says what RFC 6455 4.2.1 has against an upgrade request; nil is nothing.
func CheckUpgrade(r *http.Request) *Refusal {
	switch {
	case r.Method != http.MethodGet:
		return &Refusal{http.StatusMethodNotAllowed, "an upgrade is a GET", [2]string{"Allow", "GET"}}
	case !r.ProtoAtLeast(1, 1):
		return &Refusal{Status: http.StatusHTTPVersionNotSupported, Message: "an upgrade needs HTTP/1.1"}
	case r.Host == "":
		return &Refusal{Status: http.StatusBadRequest, Message: "an upgrade needs a Host header"}
	case r.ContentLength != 0:
		return &Refusal{Status: http.StatusBadRequest, Message: "an upgrade has no body"}
	case !hasToken(r.Header.Values("Connection"), "upgrade"):
		return &Refusal{Status: http.StatusBadRequest, Message: `an upgrade needs "Connection: Upgrade"`}
	case len(r.Header.Values("Sec-WebSocket-Version")) != 1 || r.Header.Get("Sec-WebSocket-Version") != "13":
		return &Refusal{http.StatusUpgradeRequired, "only version 13 of the WebSocket protocol is spoken", [2]string{"Sec-WebSocket-Version", "13"}}
	case !goodKey(r.Header.Values("Sec-WebSocket-Key")):
		return &Refusal{Status: http.StatusBadRequest, Message: "an upgrade needs one Sec-WebSocket-Key: 16 bytes in base64"}
	}
	return nil
}

func wantsUpgrade(r *http.Request) bool {
	return hasToken(r.Header.Values("Upgrade"), "websocket")
}

func upgradeRequired(w http.ResponseWriter, _ *http.Request) {
	refusal := Refusal{http.StatusUpgradeRequired, "this is a WebSocket endpoint: ask for an upgrade", [2]string{"Sec-WebSocket-Version", "13"}}
	refusal.write(w)
}

// hasToken looks for a token, in any case, in the comma-separated lists.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.Trim(item, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func goodKey(keys []string) bool {
	if len(keys) != 1 {
		return false
	}
	nonce, err := base64.StdEncoding.Strict().DecodeString(keys[0])
	return err == nil && len(nonce) == 16
}
