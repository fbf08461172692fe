package protocol

import (
	"bytes"
	"strconv"
)

// Script writes the records of one load.
type Script struct {
	Seed        uint64
	StartNs     int64 // CLOCK_MONOTONIC
	StartUnixMs int64 // the same moment on the calendar
	TextBytes   int   // a shorter text is repeated until it is as long, 0: as people write
}

// beforeNumber precedes a record's number, which ends the record.
const beforeNumber = `,"bench_seq":`

// AppendRecord appends record number seq, which is due at dueNs and goes to one group.
func (s Script) AppendRecord(b []byte, seq, group int, dueNs int64) []byte {
	dice := scramble(s.Seed ^ scramble(uint64(seq)))
	b = append(b, `{"app_id":`...)
	b = strconv.AppendInt(b, AppID, 10)
	b = append(b, `,"agent_id":`...)
	b = strconv.AppendUint(b, 20+dice%12, 10)
	b = append(b, `,"server_id":`...)
	b = strconv.AppendInt(b, int64(group), 10)
	b = append(b, `,"pid":`...)
	b = strconv.AppendUint(b, 9007199254740993+dice>>8%5_000_000, 10) // beyond what a double holds exactly
	b = append(b, `,"name":"`...)
	b = append(b, names[dice>>16%uint64(len(names))]...)
	b = append(b, `","channel":"`...)
	b = append(b, channels[dice>>24%uint64(len(channels))]...)
	b = append(b, `","text":"`...)
	b = s.appendText(b, dice>>32)
	b = append(b, `","ts":`...)
	b = strconv.AppendInt(b, s.StartUnixMs+(dueNs-s.StartNs)/1e6, 10)
	b = append(b, `,"bench_due_ns":`...)
	b = strconv.AppendInt(b, dueNs, 10)
	b = append(b, beforeNumber...)
	b = strconv.AppendInt(b, int64(seq), 10)
	return append(b, '}')
}

func (s Script) appendText(b []byte, dice uint64) []byte {
	start := len(b)
	b = append(b, lines[dice%uint64(len(lines))]...)
	for len(b)-start < s.TextBytes {
		dice++
		b = append(append(b, ' '), lines[dice%uint64(len(lines))]...)
	}
	return b
}

// NumberOf reads a record's number without reading the rest.
func NumberOf(record []byte) (seq int, ok bool) {
	const longestTail = len(beforeNumber) + 19
	tail := record[max(0, len(record)-longestTail):]
	at := bytes.LastIndex(tail, []byte(beforeNumber))
	if at < 0 {
		return 0, false
	}
	number, rest, ok := cutNumber(tail[at+len(beforeNumber):])
	return int(number), ok && len(rest) == 1 && rest[0] == '}'
}

// scramble is the finaliser of SplitMix64: a bijection that spreads every bit.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// What players are called and say, as it stands within a JSON string: two, three and four bytes a character,
// escapes, and lengths from one word to a long line.
var (
	names = [...]string{
		"Aldarion", "月下独酌", "xX_Sniper_Xx", "Müller", "Краб", "김철수", "mei-lin", "O\\\"Brien", "小菜鸡🐔", "Vex",
		"Tango.Down", "さくら", "لیلا", "Ñandú", "Gandalf the Grey", "player_10294",
	}
	channels = [...]string{"world", "world", "world", "guild", "team", "trade", "whisper", "系统"}
	lines    = [...]string{
		"gg",
		"anyone up for the north gate? need one healer and one tank",
		"收材料，价格好说，私聊",
		"WTS [Blade of the Fallen King] 1200g, no lowballs",
		"代练 快速升级 安全可靠 加我 QQ",
		"lag again??? my ping is over 400",
		"wer hat den Boss schon gelegt? Wir hängen bei 30 %",
		"продам 500 золота, дёшево",
		"cheap gold >>> visit us <<< fast delivery",
		"¿alguien para la mazmorra de hielo? llevamos media hora esperando",
		"今晚八点公会战，大家准时上线，不要迟到，打完发红包",
		"이번 패치 너무 어렵다 ㅋㅋ",
		"lol 😂😂 did you see that jump",
		"please mute this guy, he has been spamming the trade channel with the same line for an hour and nobody wants his level 3 boots",
		"he said \\\"no refunds\\\" and left\\u2026 reported",
		"レイド募集 あと２人 経験者優先",
		"afk 5 min, dog wants out",
		"path is C:\\\\Games\\\\client\\\\addons, drop the file there and restart",
		"gracias por la ayuda de ayer, el escudo es una maravilla, si necesitan algo avisen que hoy estoy todo el día",
		"加油加油加油",
		"n1",
		"где найти кузнеца во второй главе? обыскал весь город",
		"guild <Night Watch> recruits: 2 raids a week, Tue/Thu 20:00 CET, voice required, all classes welcome",
		"我卡在墙里了，GM 在吗，帮忙传送一下",
	}
)
