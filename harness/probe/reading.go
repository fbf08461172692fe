package probe

import (
	"encoding/json"
	"fmt"
)

// Reading is one number, or the reason why there is none. The zero Reading was
// never taken. In JSON it is the number, or {"unavailable": reason}.
type Reading struct {
	value  float64
	known  bool
	reason string
}

// Known is a reading that was taken.
func Known(value float64) Reading { return Reading{value: value, known: true} }

// Unavailable is a reading that could not be taken.
func Unavailable(reason error) Reading { return Reading{reason: reason.Error()} }

// Value returns the number, and whether there is one.
func (r Reading) Value() (float64, bool) { return r.value, r.known }

// Reason says why there is no number.
func (r Reading) Reason() string {
	if !r.known && r.reason == "" {
		return "not taken"
	}
	return r.reason
}

// Minus is the difference; it is unavailable if one of the two is.
func (r Reading) Minus(earlier Reading) Reading {
	switch {
	case !r.known:
		return Reading{reason: r.Reason()}
	case !earlier.known:
		return Reading{reason: earlier.Reason()}
	}
	return Known(r.value - earlier.value)
}

// Plus is the sum; it is unavailable if one of the two is.
func (r Reading) Plus(other Reading) Reading {
	switch {
	case !r.known:
		return Reading{reason: r.Reason()}
	case !other.known:
		return Reading{reason: other.Reason()}
	}
	return Known(r.value + other.value)
}

type unavailableJSON struct {
	Unavailable string `json:"unavailable"`
}

// MarshalJSON writes the number, or the reason.
func (r Reading) MarshalJSON() ([]byte, error) {
	if r.known {
		return json.Marshal(r.value)
	}
	return json.Marshal(unavailableJSON{r.Reason()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Reading) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		var u unavailableJSON
		if err := json.Unmarshal(text, &u); err != nil {
			return fmt.Errorf("probe: reading: %w", err)
		}
		*r = Reading{reason: u.Unavailable}
		return nil
	}
	var value float64
	if err := json.Unmarshal(text, &value); err != nil {
		return fmt.Errorf("probe: reading: %w", err)
	}
	*r = Known(value)
	return nil
}
