package conformance

import (
	"bytes"
	"fmt"
	"slices"
)

func pushCases() []testCase {
	return []testCase{
		{name: "two sessions get each its own", run: ownOnly},
		{name: "sessions with the same rule get the same bytes", run: sameBytes},
		{name: "the empty rule gets everything decodable", run: emptyRule},
		{name: "a session without rules gets nothing", run: withoutRules},
		{name: "after the answer to /listen every record comes", run: afterListen},
		{name: "after the answer to /unlisten no record comes", run: afterUnlisten},
		{name: "after a replacement the old rule is gone", run: afterReplacement},
		{name: "a rule goes, another that matches the same stays", run: overlapping},
		{name: "a refused replacement leaves the old rule", run: refusedReplacement},
		{name: "a rule replaced many times", run: replacedOften},
		{name: "rules of one session do not leak to the next", run: noLeak},
		{name: "a session that went away does not disturb others", run: goneSession},
		{name: "pushes between pipelined answers", run: pushesAmongAnswers},
		{name: "rules from a fragmented message", run: fragmentedRule},
		{name: "a session that was upgraded behind a request", run: upgradedLate},
		{name: "many rules, one of which matches", run: manyRules},
		{name: "pushes do not go to /echo", own: true, run: notToEcho},
	}
}

// forApp opens a session with one rule, named "it", for an app_id of its own.
func (tr *trial) forApp() (s *session, app int64) {
	tr.Helper()
	app = unique()
	s = tr.session()
	s.listenAs("it", appRule(app))
	return s, app
}

func appRule(app int64) string   { return fmt.Sprintf(`{"app_id":%d}`, app) }
func appRecord(app int64) string { return fmt.Sprintf(`{"app_id":%d,"text":"hello"}`, app) }

func ownOnly(tr *trial) {
	partition := tr.partition()
	one, oneApp := tr.forApp()
	other, otherApp := tr.forApp()
	at := tr.produce(partition, appRecord(oneApp), appRecord(otherApp), appRecord(unique()), appRecord(oneApp), appRecord(otherApp))
	one.wantPushes(partition, at[0], at[3])
	other.wantPushes(partition, at[1], at[4])
}

func sameBytes(tr *trial) {
	partition := tr.partition()
	first, app := tr.forApp()
	sessions := []*session{first}
	for range 19 {
		s := tr.session()
		s.listen(appRule(app))
		sessions = append(sessions, s)
	}
	at := tr.produce(partition, appRecord(app))
	message := first.wantPushes(partition, at...)[0].message
	for _, s := range sessions[1:] {
		if p := s.wantPushes(partition, at...)[0]; !bytes.Equal(p.message, message) {
			tr.Errorf("one session got %q, another %q", message, p.message)
		}
	}
}

func emptyRule(tr *trial) {
	s := tr.session()
	s.listen(`{}`)
	for partition := range tr.partitions {
		want := tr.produce(partition, `{}`, `{"note":"no field at all"}`, appRecord(unique()), `{"text":""}`, `{"channel":""}`, `{"pid":0}`)
		var came []cursor
		for _, p := range s.before(partition) { // and what other trials append
			if slices.Contains(want, p.at) {
				came = append(came, p.at)
			}
		}
		if !slices.Equal(came, want) {
			tr.Errorf("of %v came %v", want, came)
		}
	}
}

func withoutRules(tr *trial) {
	partition := tr.partition()
	s := tr.session()
	s.wantPushes(partition) // now there is the rule for the fence alone
	tr.produce(partition, `{}`, appRecord(unique()), `{"text":"","channel":""}`)
	s.wantPushes(partition)
}

func afterListen(tr *trial) {
	s := tr.session()
	for i := range 40 {
		app, partition := unique(), int32(i)%tr.partitions
		s.listenAs("it", appRule(app))
		at := tr.produce(partition, appRecord(app))[0]
		if p := s.next(); p.at != at {
			tr.Fatalf("round %d: came the record at %v, want %v", i, p.at, at)
		}
	}
}

func afterUnlisten(tr *trial) {
	s, app := tr.forApp()
	for i := range 20 {
		partition := int32(i) % tr.partitions
		at := tr.produce(partition, appRecord(app))
		s.wantPushes(partition, at...)
		s.unlisten("it")
		tr.produce(partition, appRecord(app))
		s.wantPushes(partition)
		s.listenAs("it", appRule(app))
	}
}

func afterReplacement(tr *trial) {
	s, old := tr.forApp()
	for i := range 20 {
		partition, app := int32(i)%tr.partitions, unique()
		s.listenAs("it", appRule(app))
		at := tr.produce(partition, appRecord(old), appRecord(app), appRecord(old))
		s.wantPushes(partition, at[1])
		old = app
	}
}

func overlapping(tr *trial) {
	partition := tr.partition()
	s, app := tr.forApp()
	s.listenAs("more", appRule(app))
	s.unlisten("it")
	s.wantPushes(partition, tr.produce(partition, appRecord(app))...)
	s.unlisten("more")
	tr.produce(partition, appRecord(app))
	s.wantPushes(partition)
}

func refusedReplacement(tr *trial) {
	partition := tr.partition()
	s, app := tr.forApp()
	s.refused("bad_rule", "/listen", `{"rule_id":"it","rule":{"app_id":[]}}`)
	s.refused("bad_rule", "/listen", `{"rule_id":"it","rule":{"app_id":1,"keywords":""}}`)
	s.wantPushes(partition, tr.produce(partition, appRecord(app))...)
}

func replacedOften(tr *trial) {
	partition := tr.partition()
	s := tr.session()
	var apps []int64
	for range 100 {
		apps = append(apps, unique())
		s.listenAs("it", fmt.Sprintf(`{"app_id":[%d,%d],"server_id":[2,3]}`, apps[len(apps)-1], unique()))
	}
	record := func(app int64) string { return fmt.Sprintf(`{"app_id":%d,"server_id":2}`, app) }
	s.wantPushes(partition, tr.produce(partition, record(apps[0]), record(apps[98]), record(apps[99]))[2])
}

// A new session may get the descriptor of one that has just gone.
func noLeak(tr *trial) {
	partition := tr.partition()
	for i := range 30 {
		gone, app := tr.forApp()
		if i%2 == 0 {
			gone.reset()
		} else {
			gone.write(frame(fin|opClose, closePayload(1000, "")))
			gone.wantClose(1000)
			_ = gone.conn.Close() // the cleanup would do it later
		}
		s := tr.session()
		tr.produce(partition, appRecord(app))
		s.wantPushes(partition)
		s.wantRules(map[string]string{"fence": appRule(s.fenceID)})
	}
}

func goneSession(tr *trial) {
	partition := tr.partition()
	stays, app := tr.forApp()
	for range 20 {
		gone := tr.session()
		gone.listen(appRule(app))
		gone.reset()
		stays.wantPushes(partition, tr.produce(partition, appRecord(app))...)
	}
}

func pushesAmongAnswers(tr *trial) {
	partition := tr.partition()
	s, app := tr.forApp()
	var want []cursor
	for i := range 20 {
		s.write(text(fmt.Sprintf(`{"path":"/ping","id":%d}`, i)))
		want = append(want, tr.produce(partition, appRecord(app))...)
	}
	for i := range 20 {
		if a := s.answer(); string(a.ID) != fmt.Sprint(i) {
			tr.Fatalf("answer number %d is %s", i, a.raw)
		}
	}
	s.wantPushes(partition, want...)
}

func fragmentedRule(tr *trial) {
	partition, app := tr.partition(), unique()
	s := tr.session()
	message := fmt.Sprintf(`{"path":"/listen","id":1,"params":{"rule":%s}}`, appRule(app))
	s.write(frame(opText, message[:10]) + frame(opContinuation, message[10:30]))
	s.write(frame(fin|opContinuation, message[30:]))
	if a := s.answer(); a.Error != nil {
		tr.Fatalf("refused: %s", a.raw)
	}
	s.wantPushes(partition, tr.produce(partition, appRecord(app))...)
}

func upgradedLate(tr *trial) {
	partition, app := tr.partition(), unique()
	p := tr.dial()
	p.write(tr.request("GET /live HTTP/1.1"))
	p.wantStatus("GET", 200)
	p.write(tr.upgradeRequest("/ws"))
	s := p.wantUpgraded()
	s.listen(appRule(app))
	s.wantPushes(partition, tr.produce(partition, appRecord(app))...)
}

func manyRules(tr *trial) {
	partition, app := tr.partition(), unique()
	s := tr.session()
	for i := range 200 {
		s.listen(fmt.Sprintf(`{"app_id":%d,"server_id":[%d,%d]}`, app, 2*i, 2*i+1))
	}
	var want []cursor
	for _, server := range []int{0, 199, 399} {
		want = append(want, tr.produce(partition, fmt.Sprintf(`{"app_id":%d,"server_id":%d}`, app, server))...)
	}
	tr.produce(partition, fmt.Sprintf(`{"app_id":%d,"server_id":400}`, app))
	s.wantPushes(partition, want...)
}

func notToEcho(tr *trial) {
	away := tr.on(tr.shared("--echo"))
	partition := tr.partition()
	echo := away.open("/echo")
	listen := `{"path":"/listen","params":{"rule":{}}}`
	echo.write(text(listen))
	echo.wantFrame(opText, listen)
	s := away.session()
	tr.produce(partition, appRecord(unique()))
	s.wantPushes(partition)
	echo.write(text("the next"))
	echo.wantFrame(opText, "the next")
}
