package chat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// jsontext is used for the grammar alone. Doubled names are legal in what players' games write, and
// an escape such as "\ud800" is valid JSON in valid UTF-8, which jsontext's strict mode would refuse;
// that the bytes are UTF-8 is checked where they arrive.
var jsonOptions = []jsontext.Options{
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
}

var errNotObject = errors.New("not a JSON object")

// scanner walks one JSON text. Values that it returns alias the text.
type scanner struct {
	text bytes.Buffer
	dec  *jsontext.Decoder
}

var scanners = sync.Pool{New: func() any {
	s := new(scanner)
	s.dec = jsontext.NewDecoder(&s.text, jsonOptions...)
	return s
}}

// scanObject calls member for each member of the one object that text must be. name is unescaped
// and, like value, valid until member returns.
func scanObject(text []byte, member func(name, value []byte) error) error {
	s := scanners.Get().(*scanner)
	defer func() {
		s.text = bytes.Buffer{} // do not keep the caller's text alive
		scanners.Put(s)
	}()
	s.text = *bytes.NewBuffer(text)
	s.dec.Reset(&s.text, jsonOptions...)
	if s.dec.PeekKind() != '{' {
		if _, err := s.dec.ReadValue(); err != nil {
			return jsonError(err)
		}
		return errNotObject
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	if err := s.members(member); err != nil {
		return err
	}
	if _, err := s.dec.ReadToken(); err != io.EOF {
		return errors.New("text follows the JSON object")
	}
	return nil
}

func (s *scanner) members(member func(name, value []byte) error) error {
	var name []byte
	for s.dec.PeekKind() != '}' {
		quoted, err := s.dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		if name, err = unquote(name[:0], quoted); err != nil {
			return err
		}
		value, err := s.dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		if err := member(name, value); err != nil {
			return err
		}
	}
	_, err := s.dec.ReadToken()
	return jsonError(err)
}

// scanArray calls element for each element of array, which must be a valid JSON array.
func scanArray(array []byte, element func(value []byte) error) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(array), jsonOptions...)
	if _, err := dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	for dec.PeekKind() != ']' {
		value, err := dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		if err := element(value); err != nil {
			return err
		}
	}
	return nil
}

// unquote appends what a valid JSON string says.
func unquote(dst, quoted []byte) ([]byte, error) {
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return append(dst, inner...), nil
	}
	dst, err := jsontext.AppendUnquote(dst, quoted)
	var syntactic *jsontext.SyntacticError
	if err != nil && !errors.As(err, &syntactic) {
		return dst, fmt.Errorf("unreadable JSON string: %w", err)
	}
	return dst, nil // a lone surrogate is reported, and stands as U+FFFD
}

func kind(value []byte) jsontext.Kind { return jsontext.Value(value).Kind() }

func appendQuote[Text []byte | string](dst []byte, s Text) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its one error is invalid UTF-8, which it has then replaced
	return dst
}

var errNotInteger = fmt.Errorf("want an integer from 0 to %d in plain decimal, or the same as a string", int64(math.MaxInt64))

// parseInteger reads an integer, or a string that holds one: a browser cannot hold 2^53 and more.
func parseInteger(value []byte) (int64, error) {
	digits := value
	switch kind(value) {
	case '0':
	case '"':
		var err error
		if digits, err = unquote(nil, value); err != nil {
			return 0, err
		}
	default:
		return 0, errNotInteger
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(digits) > 1 {
		return 0, errNotInteger
	}
	var n uint64 // 19 digits stay below 2^64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, errNotInteger
		}
		n = n*10 + uint64(d-'0')
	}
	if n > math.MaxInt64 {
		return 0, errNotInteger
	}
	return int64(n), nil
}

func jsonError(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF {
		return errors.New("empty text")
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return fmt.Errorf("invalid JSON at byte %d: %w", syntactic.ByteOffset, syntactic.Err)
	}
	return fmt.Errorf("invalid JSON: %w", err)
}
