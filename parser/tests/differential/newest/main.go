// Command reference answers questions about Dockerfiles with BuildKit's own code.
//
// Each line of standard input is a JSON object with "mode" and "input", each line of standard
// output the answer, in the form of `rbuild debug ask`. The mode "parse" prints the nodes of
// BuildKit's parser; "typed" then tells what its instructions are refused for.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type object = map[string]any

type question struct {
	Mode, Input, Escape string
	Env, Paths          []string
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		answers.Encode(answer(asked))
	}
}

func answer(asked question) object {
	switch asked.Mode {
	case "parse":
		return parse(asked.Input)
	case "word":
		result, err := lexer(asked).ProcessWordWithMatches(asked.Input, shell.EnvsFromSlice(asked.Env))
		return or(err, object{"word": result.Result})
	case "words":
		words, err := lexer(asked).ProcessWords(asked.Input, shell.EnvsFromSlice(asked.Env))
		return or(err, object{"words": append([]string{}, words...)})
	default:
		return ignore(asked)
	}
}

func or(err error, otherwise object) object {
	if err != nil {
		return object{"error": err.Error()}
	}
	return otherwise
}

func lexer(asked question) *shell.Lex {
	if asked.Escape != "" {
		return shell.NewLex([]rune(asked.Escape)[0])
	}
	return shell.NewLex('\\')
}

func ignore(asked question) object {
	patterns, err := ignorefile.ReadAll(strings.NewReader(asked.Input))
	if err == nil {
		_, err = patternmatcher.New(patterns)
	}
	ignored := []bool{}
	for _, path := range asked.Paths {
		var matched bool
		if err == nil {
			matched, err = patternmatcher.MatchesOrParentMatches(path, patterns)
		}
		ignored = append(ignored, matched)
	}
	return or(err, object{"patterns": append([]string{}, patterns...), "ignored": ignored})
}

func parse(source string) object {
	result, err := parser.Parse(strings.NewReader(source))
	if err != nil {
		return object{"error": err.Error()}
	}
	nodes := []object{}
	for _, child := range result.AST.Children {
		nodes = append(nodes, describe(child))
	}
	tree := object{"instructions": nodes}
	if _, _, err := instructions.Parse(result.AST, nil); err != nil {
		tree["typed"] = err.Error()
	}
	return tree
}

func describe(node *parser.Node) object {
	name := strings.ToUpper(node.Value)
	arguments := []string{}
	described := object{"instruction": name, "flags": append([]string{}, node.Flags...)}
	for argument := node.Next; argument != nil; argument = argument.Next {
		if len(argument.Children) > 0 {
			described["child"] = describe(argument.Children[0])
		} else {
			arguments = append(arguments, argument.Value)
		}
	}
	if name == "ENV" || name == "LABEL" {
		// Every third one tells whether there was an equals sign.
		pairs := []string{}
		for index := 0; index+2 < len(arguments); index += 3 {
			pairs = append(pairs, arguments[index], arguments[index+1])
		}
		arguments = pairs
	}
	described["args"] = arguments
	if node.Attributes["json"] {
		described["json"] = true
	}
	heredocs := []object{}
	for _, body := range node.Heredocs {
		heredocs = append(heredocs, object{"name": body.Name, "content": body.Content, "expand": body.Expand, "chomp": body.Chomp})
	}
	described["heredocs"] = heredocs
	return described
}
