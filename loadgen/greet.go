package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"chatmonitor/loadgen/client"
	"chatmonitor/loadgen/protocol"
)

// Ids of requests; a load's own begin at firstLoadID.
const (
	listenID    = 1
	firstPingID = 2
	firstLoadID = 1000
)

// Opened implements client.Handler.
func (f *fleet) Opened(i int, dialledNs, nowNs int64) {
	if f.heard.opened != nil {
		f.heard.opened(i, dialledNs, nowNs)
	}
	if f.echoes {
		f.phases[i] = pinging
		f.sendPing(i)
		return
	}
	f.phases[i] = listening
	f.scratch = protocol.AppendListen(f.scratch[:0], listenID, f.share.groupOfRun(f.share.group(i)))
	f.send(i)
}

func (f *fleet) sendPing(i int) {
	var buffer [64]byte
	params := f.pingParams(buffer[:0], i)
	if f.echoes {
		f.scratch = append(f.scratch[:0], params...)
	} else {
		f.scratch = protocol.AppendPing(f.scratch[:0], f.pingID, params)
	}
	f.send(i)
}

// pingParams differ between connections and between pings, so that no answer passes for another.
func (f *fleet) pingParams(b []byte, i int) []byte {
	b = append(b, `{"connection":`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `,"ping":`...)
	b = strconv.AppendInt(b, int64(f.pingID), 10)
	return append(b, '}')
}

func (f *fleet) send(i int) {
	if err := f.loop.Send(i, f.scratch); err != nil {
		f.giveUp(i, err)
	}
}

// Received implements client.Handler.
func (f *fleet) Received(i int, isText bool, payload []byte, nowNs int64) {
	switch {
	case !isText:
		f.faults.add("a binary message, where all is text")
	case f.echoes:
		f.receiveEcho(i, payload, nowNs)
	case protocol.IsPush(payload):
		f.receivePush(i, payload, nowNs)
	default:
		f.receiveOther(i, payload, nowNs)
	}
}

func (f *fleet) receivePush(i int, text []byte, nowNs int64) {
	if f.heard.push != nil {
		f.heard.push(i, text, nowNs)
	}
}

func (f *fleet) receiveEcho(i int, text []byte, nowNs int64) {
	var buffer [64]byte
	awaited := f.phases[i] == pinging || f.phases[i] == checking
	switch {
	case awaited && bytes.Equal(text, f.pingParams(buffer[:0], i)):
		f.becomeReady(i, nowNs)
	case f.heard.echo != nil && f.phases[i] >= ready:
		f.heard.echo(i, text, nowNs)
	default:
		f.faults.add("an echo of what was not sent")
	}
}

func (f *fleet) receiveOther(i int, payload []byte, nowNs int64) {
	m, err := f.reader.Message(payload)
	switch {
	case err != nil:
		f.faults.add("a message that is not the protocol's JSON")
	case m.Path == protocol.PathChat:
		f.receivePush(i, payload, nowNs)
	case m.Path == protocol.PathNotice:
		// may come at any time, and asks for nothing
	case m.Path == protocol.PathListen && f.phases[i] == listening:
		f.receiveListen(i, m)
	case m.Path == protocol.PathPing:
		f.receivePong(i, m, nowNs)
	default:
		f.faults.add("an answer that nobody asked for")
	}
}

func (f *fleet) receiveListen(i int, m protocol.Message) {
	switch {
	case m.Error != nil:
		f.giveUp(i, fmt.Errorf("rule refused: %s", f.reader.ErrorCode(m.Error)))
	case !isNumber(m.ID, listenID) || !f.reader.HasRuleID(m.Result):
		f.faults.add("a wrong answer to /listen")
		f.giveUp(i, errors.New("wrong answer to /listen"))
	default:
		f.phases[i] = pinging
		f.sendPing(i)
	}
}

func (f *fleet) receivePong(i int, m protocol.Message, nowNs int64) {
	awaited := f.phases[i] == pinging || f.phases[i] == checking
	if f.heard.pong != nil && f.phases[i] >= ready && !(awaited && isNumber(m.ID, f.pingID)) {
		f.heard.pong(i, m, nowNs)
		return
	}
	var buffer [64]byte
	switch {
	case !awaited:
		f.faults.add("an answer that nobody asked for")
	case m.Error != nil:
		f.giveUp(i, fmt.Errorf("ping refused: %s", f.reader.ErrorCode(m.Error)))
	case !isNumber(m.ID, f.pingID) || !f.echoedTo(m, f.pingParams(buffer[:0], i)):
		f.faults.add("a wrong answer to /ping")
		f.giveUp(i, errors.New("wrong answer to /ping"))
	default:
		f.becomeReady(i, nowNs)
	}
}

// echoedTo tells whether a ping's answer has the time and the parameters that were sent.
func (f *fleet) echoedTo(m protocol.Message, params []byte) bool {
	echo, err := f.reader.Pong(m.Result)
	return err == nil && sameJSON(echo, params)
}

func (f *fleet) becomeReady(i int, nowNs int64) {
	first := f.phases[i] == pinging
	f.phases[i] = ready
	f.loop.Deadline(i, client.NoDeadline)
	if first {
		f.climb(int(f.up.Add(1)), nowNs)
		if f.heard.ready != nil {
			f.heard.ready(i, nowNs)
		}
	}
	f.finish()
}

func isNumber(text []byte, want int) bool {
	var digits [20]byte
	return bytes.Equal(text, strconv.AppendInt(digits[:0], int64(want), 10))
}

// sameJSON compares texts of which want has no spaces.
func sameJSON(text, want []byte) bool {
	if bytes.Equal(text, want) {
		return true
	}
	compact := jsontext.Value(bytes.Clone(text))
	return compact.Compact() == nil && bytes.Equal(compact, want)
}
