package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"chatmonitor/harness/probe"
	"chatmonitor/harness/report"
)

// goVariables change how Go programs run; a run names those that were set.
var goVariables = []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"}

// describeEnvironment says where the run takes place and what is run.
func describeEnvironment(ctx context.Context, machine probe.Machine, bin binaries, programs []string) report.Environment {
	env := report.Environment{
		Machine: machine, GoVersion: runtime.Version(), Variables: map[string]string{},
	}
	env.Commit, env.Dirty = commit(ctx)
	for _, name := range goVariables {
		if value, set := os.LookupEnv(name); set {
			env.Variables[name] = value
		}
	}
	for _, name := range programs {
		env.Binaries = append(env.Binaries, describeBinary(bin.path(name), name))
	}
	return env
}

// shortCommit is how much of a commit's name goes into a folder's.
const shortCommit = 12

// commit is what this harness was built from. `go run` leaves that out of the
// binary; then git is asked about the working folder.
func commit(ctx context.Context) (name string, dirty bool) {
	if info, ok := debug.ReadBuildInfo(); ok {
		settings := buildSettings(info)
		if revision := settings["vcs.revision"]; revision != "" {
			return revision[:min(len(revision), shortCommit)], settings["vcs.modified"] == "true"
		}
	}
	head, err := exec.CommandContext(ctx, "git", "rev-parse", fmt.Sprintf("--short=%d", shortCommit), "HEAD").Output()
	if err != nil {
		return "unknown", false
	}
	status, err := exec.CommandContext(ctx, "git", "status", "--porcelain").Output()
	return strings.TrimSpace(string(head)), err != nil || len(status) > 0
}

func buildSettings(info *debug.BuildInfo) map[string]string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	return settings
}

func describeBinary(path, name string) report.Binary {
	b := report.Binary{Name: name}
	sum, err := sha256File(path)
	if err != nil {
		b.Unknown = err.Error()
		return b
	}
	b.SHA256 = sum
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		b.Unknown = err.Error()
		return b
	}
	b.GoVersion, b.Settings = info.GoVersion, buildSettings(info)
	return b
}

func sha256File(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
