// Package chatter makes up chat: players in the worlds of several games talk,
// trade, ask for help, and some sell gold. The same seed gives the same records.
//
// It writes the Kafka record of this project and knows no Kafka: when records go
// out, and where to, is somebody else's business.
package chatter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Record is a chat line as it stands in Kafka.
type Record struct {
	AppID    int64  `json:"app_id"`
	AgentID  int64  `json:"agent_id"`
	ServerID int64  `json:"server_id"`
	PID      int64  `json:"pid"`
	Name     string `json:"name"`
	Channel  string `json:"channel"`
	Text     string `json:"text"`
	TS       int64  `json:"ts"` // unix milliseconds
}

// Key keeps the lines of one game server in one partition, and so in order.
func (r Record) Key() string { return fmt.Sprintf("%d/%d/%d", r.AppID, r.AgentID, r.ServerID) }

// JSON is the record's value in Kafka.
func (r Record) JSON() []byte {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // "<3" should arrive as it was typed
	if err := encoder.Encode(r); err != nil {
		panic("chatter: a record that is no JSON: " + err.Error())
	}
	return []byte(strings.TrimSuffix(out.String(), "\n"))
}

// world is one game server and who plays on it.
type world struct {
	app, agent, server int64
	language           *language
	players            []player
	talks              int // how much it talks, against the others
}

type player struct {
	pid    int64
	name   string
	seller bool
}

// Chatter makes up one record after the other. It is for one goroutine.
type Chatter struct {
	rand   *rand.Rand
	worlds []world
	talks  int // of all worlds
}

const (
	playersPerWorld = 400
	sellersPerWorld = 6
	// oneInSells is how many lines there are to one of a gold seller.
	oneInSells = 25
)

// New makes the worlds and their players.
func New(seed uint64) *Chatter {
	c := &Chatter{rand: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
	for _, w := range worlds {
		w.players = c.players(w)
		c.worlds = append(c.worlds, w)
		c.talks += w.talks
	}
	return c
}

func (c *Chatter) players(w world) []player {
	players := make([]player, playersPerWorld)
	for i := range players {
		players[i] = player{
			// The pattern of a player's id: agent, server, number. Some exceed 2^53.
			pid:    w.agent*100_000_000_000_000 + w.server*1_000_000 + int64(i+1),
			name:   w.language.name(c.rand),
			seller: i < sellersPerWorld,
		}
	}
	return players
}

// Next makes up the next record, with the time ts in unix milliseconds.
func (c *Chatter) Next(ts int64) Record {
	w := c.world()
	var who player
	var channel, text string
	if c.rand.IntN(oneInSells) == 0 {
		who = w.players[c.rand.IntN(sellersPerWorld)]
		channel = pick(c.rand, []string{"world", "world", "trade", "whisper"})
		text = fill(c.rand, pick(c.rand, w.language.sells), w.language)
	} else {
		who = w.players[sellersPerWorld+c.rand.IntN(playersPerWorld-sellersPerWorld)]
		talk := c.talk(w.language)
		channel = talk.channel
		text = fill(c.rand, pick(c.rand, talk.lines), w.language)
	}
	return Record{
		AppID: w.app, AgentID: w.agent, ServerID: w.server,
		PID: who.pid, Name: who.name, Channel: channel, Text: text, TS: ts,
	}
}

// world picks one; those that talk more come more often.
func (c *Chatter) world() *world {
	n := c.rand.IntN(c.talks)
	for i := range c.worlds {
		w := &c.worlds[i]
		if n < w.talks {
			return w
		}
		n -= w.talks
	}
	panic("chatter: the worlds do not add up")
}

// talk picks a channel. Most is said to the world and in the guild.
func (c *Chatter) talk(l *language) *talk {
	return &l.talks[min(c.rand.IntN(len(l.talks)), c.rand.IntN(len(l.talks)))]
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// fill replaces the placeholders of a line: {item}, {place}, {n}.
func fill(r *rand.Rand, line string, l *language) string {
	if !strings.Contains(line, "{") {
		return line
	}
	return strings.NewReplacer(
		"{item}", pick(r, l.items),
		"{place}", pick(r, l.places),
		"{n}", fmt.Sprint(1+r.IntN(99)),
	).Replace(line)
}
