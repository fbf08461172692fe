package stacktest

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
)

// generate is the stand-in for the load generator. It has a fixed idea of what it
// measured.
func generate(ctx context.Context, fault string, args []string) int {
	switch fault {
	case Crash:
		return fail("stand-in: no address to connect from")
	case Garbage:
		fmt.Println("hello, I am a table for people")
	case Hang:
		<-ctx.Done()
		return 0
	case Gate:
		fmt.Println(`{"event":"result","result":` + result(args, `false`, `["no connection came up"]`, `[]`, 0) + `}`)
		return 2
	}
	fmt.Printf(`{"event":"held","connections":%s,"connect_seconds":0.5}`+"\n", flagValue(args, "connections"))
	if !awaitGo(ctx) {
		return 0
	}
	text, code := outcome(fault, args)
	fmt.Println(`{"event":"result","result":` + text + `}`)
	return code
}

func outcome(fault string, args []string) (text string, code int) {
	switch fault {
	case Wrong:
		return result(args, `true`, `[]`, `["3 pushes are missing"]`, 3), 3
	case Invalid:
		return result(args, `false`, `["the schedule was not kept"]`, `[]`, 0), 2
	}
	return result(args, `true`, `[]`, `[]`, 0), 0
}

// awaitGo reports whether the gate was opened.
func awaitGo(ctx context.Context) bool {
	opened := make(chan bool, 1)
	go func() {
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		opened <- err == nil && strings.TrimSpace(line) == "go"
	}()
	select {
	case <-ctx.Done():
		return false
	case open := <-opened:
		return open
	}
}

func result(args []string, valid, invalidBecause, wrongBecause string, lost int) string {
	histogram := `{"count":100,"min_ns":50000,"mean_ns":210000,"p50_ns":200000,"p90_ns":300000,"p99_ns":900000,"p999_ns":1100000,"max_ns":1200000}`
	return fmt.Sprintf(`{"schema":1,"scenario":%q,"url":%q,`+
		`"connections":{"asked":%[3]s,"held":%[3]s,"failed":0,"dropped":0,"connect_seconds":0.5,"errors":{}},`+
		`"records":{"asked":100,"produced":100,"acknowledged":100,"deliveries_expected":100,"deliveries":%[4]d,"lost":%[5]d,"duplicated":0,"wrong":0,"reordered":0},`+
		`"rate":{"asked_per_second":%[10]s,"achieved_per_second":%[10]s},`+
		`"latency":{"response":%[6]s,"service":%[6]s,"lag":%[6]s,"first_receiver":%[6]s,"last_receiver":%[6]s},`+
		`"self":{"rss_bytes":1,"bytes_per_connection":1,"cpu_seconds":0.1,"goroutines":9},`+
		`"valid":%[7]s,"invalid_because":%[8]s,"wrong_because":%[9]s}`,
		args[0], flagValue(args, "url"), flagValue(args, "connections"), 100-lost, lost, histogram, valid, invalidBecause, wrongBecause, cmp.Or(flagValue(args, "rate"), "200"))
}
