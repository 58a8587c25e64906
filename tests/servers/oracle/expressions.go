package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"regexp"
)

// An expression, and the texts to look for it in.
type search struct {
	Expression string
	Texts      []string
}

// Reads one search a line and writes one line for each: a digit for each text, 1 where the
// expression is found, or "bad: why" where it is none.
func searchAll() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked search
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		expression, err := regexp.Compile(asked.Expression)
		if err != nil {
			fmt.Printf("bad: %q\n", err.Error())
			continue
		}
		for _, text := range asked.Texts {
			if expression.MatchString(text) {
				fmt.Print("1")
			} else {
				fmt.Print("0")
			}
		}
		fmt.Println()
	}
}
