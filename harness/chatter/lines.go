package chatter

import (
	"fmt"
	"math/rand/v2"
)

// worlds are the game servers: two games, several agents. 6558 is the one that
// examples listen to.
var worlds = []world{
	{app: 19, agent: 29, server: 6558, language: &chinese, talks: 6},
	{app: 19, agent: 29, server: 6559, language: &chinese, talks: 4},
	{app: 19, agent: 30, server: 7001, language: &chinese, talks: 3},
	{app: 19, agent: 41, server: 8102, language: &english, talks: 3},
	{app: 23, agent: 7, server: 120, language: &english, talks: 4},
	{app: 23, agent: 7, server: 121, language: &english, talks: 2},
	{app: 23, agent: 164, server: 389, language: &chinese, talks: 2},
}

// language is how the players of a world talk.
type language struct {
	firstNames, lastNames []string
	numbered              bool // names are told apart by a number
	items, places         []string
	talks                 []talk // the ones at the front are heard more
	sells                 []string
}

type talk struct {
	channel string
	lines   []string
}

func (l *language) name(r *rand.Rand) string {
	name := pick(r, l.firstNames) + pick(r, l.lastNames)
	if l.numbered {
		name += fmt.Sprint(r.IntN(100))
	}
	return name
}

var chinese = language{
	firstNames: []string{"风", "夜", "雨", "剑", "醉", "冷", "星", "墨", "青", "孤", "月下", "江南", "无敌", "小小", "逍遥", "千年"},
	lastNames:  []string{"无痕", "听雪", "归人", "如歌", "浪子", "丶清风", "不归", "天涯", "小妖", "仙子", "刀客", "老司机", "一笑", "未央", "本尊", "熊猫"},
	items:      []string{"紫装", "强化石", "传说坐骑", "龙鳞甲", "回城卷", "精炼锤", "屠龙刀", "血瓶", "副本钥匙", "宠物蛋"},
	places:     []string{"龙脊山", "迷雾森林", "三号线", "主城", "冰封谷", "魔王殿", "东海渔村", "竞技场"},
	talks: []talk{
		{"world", []string{
			"{place}来个奶，就差一个了", "有人一起刷{place}吗？", "这次更新{item}爆率是不是又降了", "晚上八点{place}打首领，来的扣1",
			"萌新求带，{n}级了", "服务器好卡，是我一个人吗", "恭喜恭喜！", "哈哈哈哈笑死我了", "谁知道{place}怎么走", "{item}终于毕业了😂",
		}},
		{"guild", []string{
			"今晚公会战都在线吗", "仓库里的{item}谁要自己拿", "会长呢？", "贡献不够了，求捐献", "{place}集合，三分钟", "我先下了，明天见",
		}},
		{"trade", []string{
			"出{item}，{n}金，私聊", "收{item}，有的密我", "{item}换{item}有人吗", "低价出{item}×{n}，急用",
		}},
		{"team", []string{
			"等我一下，补个蓝", "坦克拉好仇恨", "打断！打断！", "别开怪，还有人没到", "{item}需求了啊", "再来一把？",
		}},
		{"whisper", []string{
			"在吗", "上次借你的{item}还没还我", "加个好友吧", "明天{n}点上线，别忘了",
		}},
	},
	sells: []string{
		"专业代练，{n}元一级，安全快速，加薇信 dl{n}88", "代练代打{place}，包过，不过全退", "金币便宜卖，1:{n}万，24小时在线客服",
		"代 练 {item} 保底出货，联系扣扣 8{n}30{n}", "低价金币+代练套餐，{n}元起，支持担保", "首充号{n}元，带{item}，秒发",
	},
}

var english = language{
	firstNames: []string{"Shadow", "Iron", "Frost", "Dark", "Lucky", "Silent", "Mad", "Storm", "Lil", "Old", "Red", "Night"},
	lastNames:  []string{"blade", "heart", "Fang", "walker", "Panda", "_mage", "hunter", "Wolf", "Smith", "Bunny", "lock", "Queen"},
	numbered:   true,
	items:      []string{"epic helm", "Dragonscale", "mana potions", "phoenix mount", "rune of haste", "dungeon key", "iron ore", "pet egg"},
	places:     []string{"Frostpeak", "the crypt", "Old Harbor", "arena", "Mistwood", "the capital", "Ember Pass"},
	talks: []talk{
		{"world", []string{
			"LF1M healer {place}, then go", "anyone else lagging?", "gz!!", "did they nerf {item} again", "how do I get to {place}? lvl {n} here",
			"lol what was that", "world boss at {place} in {n} min", "brb, cat on keyboard", "first time seeing {item} drop <3", "rip my daily streak",
		}},
		{"guild", []string{
			"raid tonight, be there 10 min early", "who took {item} from the bank?", "welcome!", "need {n} more points for the weekly", "omw", "gn all",
		}},
		{"trade", []string{
			"WTS {item}, {n}g each, pst", "WTB {item}, paying well", "trading {item} for {item}", "selling stack of {n} {item}, cheap",
		}},
		{"team", []string{
			"wait, oom", "pull the next pack", "interrupt him!", "who has the {item}?", "wp everyone", "one more run?",
		}},
		{"whisper", []string{
			"hey, you there?", "thanks for the {item} yesterday", "can you craft {item}?", "ok see you at {place}",
		}},
	},
	sells: []string{
		"CHEAP GOLD {n}USD = 100k >> gold-{n}.example", "fast powerleveling 1-{n}, safe, no bots, whisper me", "Gold gold GOLD! instant delivery, {n}% bonus",
		"g0ld and {item} cheap, discord pro{n}", "代练 / boosting, CN + EN, {item} guaranteed", "sell acc lvl {n} with {item}, paypal",
	},
}
