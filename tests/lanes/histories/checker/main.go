// Command checker says whether histories of numbered records are linearizable: by porcupine, which knows nothing of us.
//
// A line of JSON on stdin is one call of `read` or `advance` (../client.py). All of one key is one history. A key that was
// checked for longer than -seconds has no answer, which is told as such. Exit 1: one is not linearizable; 2: one has no answer.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// A record: its number, and what it says.
type record struct {
	Number int64
	Data   string
}

// A call, and what came of it. Unknown: no answer came. It may have been done at any time until Return, or never.
type call struct {
	Client  int
	Key     string
	Op      string
	After   int64
	Data    string
	Unknown bool
	Won     bool
	Number  int64
	Now     string
	Call    int64
	Return  int64
}

// The rule. Where a store may lose what it has confirmed (leaps), a record without data may stand at any greater number.
// So may the first one: nobody can tell a new store from one that has lost all.
func step(leaps bool) func(state, input, output any) (bool, any) {
	return func(state, input, output any) (bool, any) {
		now, asked := state.(record), input.(call)
		told := record{asked.Number, asked.Now}
		if asked.Op == "advance" {
			if leaps && !asked.Unknown && asked.After > now.Number && (asked.Won || told.Number == asked.After+1) {
				now = record{asked.After, ""}
			}
			next := record{asked.After + 1, asked.Data}
			switch {
			case asked.Unknown && now.Number == asked.After:
				return true, next
			case asked.Unknown:
				return true, now
			case asked.Won:
				return now.Number == asked.After, next
			case told == next && now.Number == asked.After:
				return true, next // Its own, which a repetition has found.
			}
		}
		if (leaps || now.Number == 0) && told.Data == "" && told.Number > now.Number {
			return true, told
		}
		return told == now, now
	}
}

func main() {
	leaps := flag.Bool("leaps", false, "numbers may leap, with nothing held")
	seconds := flag.Int("seconds", 60, "for each key, at most")
	flag.Parse()
	byKey := map[string][]porcupine.Operation{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<16), 1<<20)
	for lines.Scan() {
		var found call
		if err := json.Unmarshal(lines.Bytes(), &found); err != nil {
			fmt.Println("no history:", err)
			os.Exit(3)
		}
		byKey[found.Key] = append(byKey[found.Key], porcupine.Operation{
			ClientId: found.Client, Input: found, Output: found, Call: found.Call, Return: found.Return,
		})
	}
	model := porcupine.Model{Init: func() any { return record{} }, Step: step(*leaps)}
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	worst := 0
	for _, key := range keys {
		switch porcupine.CheckOperationsTimeout(model, byKey[key], time.Duration(*seconds)*time.Second) {
		case porcupine.Ok:
			fmt.Printf("%s: %d calls: linearizable\n", key, len(byKey[key]))
		case porcupine.Illegal:
			fmt.Printf("%s: %d calls: NOT linearizable\n", key, len(byKey[key]))
			worst = 1
		default:
			fmt.Printf("%s: %d calls: no answer within %d s\n", key, len(byKey[key]), *seconds)
			if worst == 0 {
				worst = 2
			}
		}
	}
	os.Exit(worst)
}
