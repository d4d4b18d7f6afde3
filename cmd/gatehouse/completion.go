package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/pflag"

	"gatehouse/configs"
)

const completionArguments = "bash|zsh|fish"

const completionHelp = `Print a completion script for a shell. To load it in every session:

  bash   echo 'source <(gatehouse completion bash)' >> ~/.bashrc
  zsh    echo 'source <(gatehouse completion zsh)' >> ~/.zshrc
  fish   gatehouse completion fish > ~/.config/fish/completions/gatehouse.fish`

// The scripts run "gatehouse completion words" with the words of the command line up to the cursor. It prints
// one candidate on each line, with a tab before its description. Those that end with = or / are not complete.
const (
	// bash replaces only what is after the last equals sign.
	bashCompletion = `_gatehouse() {
  local line typed=${COMP_LINE:0:COMP_POINT} words
  read -ra words <<< "$typed"
  typed=${typed##* }
  [[ -n $typed ]] || words+=("")
  COMPREPLY=()
  while IFS=$'\t' read -r line _; do
    [[ $line == *[=/] ]] || line+=" "
    COMPREPLY+=("${line#"${typed%"${typed##*=}"}"}")
  done < <("${words[0]}" completion words "${words[@]:1}" 2>/dev/null)
}
complete -o nospace -F _gatehouse gatehouse
`
	zshCompletion = `#compdef gatehouse
_gatehouse() {
  local line word
  local -a open closed openHelp closedHelp
  for line in "${(@f)$("${words[1]}" completion words "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    word=${line%%$'\t'*}
    case $word in
      '') ;;
      *[=/]) open+=("$word"); openHelp+=("${line/$'\t'/  }") ;;
      *) closed+=("$word"); closedHelp+=("${line/$'\t'/  }") ;;
    esac
  done
  compadd -l -S '' -d openHelp -a open
  compadd -l -d closedHelp -a closed
}
compdef _gatehouse gatehouse
`
	fishCompletion = `function __gatehouse_words
  set -l words (commandline -opc) (commandline -ct)
  $words[1] completion words $words[2..] 2>/dev/null
end
complete -c gatehouse -f -a '(__gatehouse_words)'
`
)

// completion prints the script for a shell, or the candidates for a word.
func completion(ctx context.Context, args []string, c console) int {
	if len(args) > 0 && args[0] == "words" {
		for _, one := range completeWords(ctx, args[1:], c) {
			fmt.Fprintf(c.stdout, "%s\t%s\n", one.word, one.help)
		}
		return exitOK
	}
	flags := newFlags("completion", completionHelp, c, completionArguments)
	if code, done := parseFlags(flags, args, c); done {
		return code
	}
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	if script, ok := scripts[flags.Arg(0)]; ok && flags.NArg() == 1 {
		fmt.Fprint(c.stdout, script)
		return exitOK
	}
	fmt.Fprint(c.stderr, "gatehouse completion: name one shell: bash, zsh or fish\n")
	return exitConfig
}

// candidate is what a word can be completed to.
type candidate struct{ word, help string }

// completeWords returns the candidates for the last of words.
func completeWords(ctx context.Context, words []string, c console) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	before, typed := words[:len(words)-1], words[len(words)-1]
	if slices.Contains(before, "--") {
		return nil // the command of `gatehouse run`
	}
	name, next := commandIn(before)
	flags := flagsOf(ctx, name, c)
	addUpstreamFlags(flags, words)
	var found []candidate
	if flag, value, ok := strings.Cut(typed, "="); ok && strings.HasPrefix(flag, "--") {
		found = valuesOf(flags.Lookup(flag[2:]), flag+"=", value, c.dir)
	} else if flag := valueFlag(flags, before); flag != nil {
		found = valuesOf(flag, "", typed, c.dir)
	} else {
		found = next
		flags.VisitAll(func(f *pflag.Flag) {
			word := "--" + f.Name
			if f.NoOptDefVal == "" {
				word += "="
			}
			found = append(found, candidate{word, f.Usage})
		})
		found = append(found, candidate{"--help", "show the help"})
	}
	return slices.DeleteFunc(found, func(one candidate) bool { return !strings.HasPrefix(one.word, typed) })
}

// commandIn returns the command that words begin with, and what can follow it. Without a command, it is serve.
func commandIn(words []string) (name string, next []candidate) {
	var names []string
	for following := commands(); len(names) < len(words); {
		i := slices.IndexFunc(following, func(cmd command) bool { return cmd.name == words[len(names)] })
		if i < 0 {
			break
		}
		names, following = append(names, words[len(names)]), following[i].subcommands
	}
	switch {
	case len(names) == len(words):
		next = nextWords(names)
	case len(names) == 0 && !strings.HasPrefix(words[0], "-"):
		return words[0], nil // there is no such command
	}
	if len(names) == 0 {
		return "serve", next
	}
	return strings.Join(names, " "), next
}

// nextWords returns the words that can follow a command, whose name and those of its subcommands are names.
func nextWords(names []string) []candidate {
	if slices.Equal(names, []string{"completion"}) {
		return []candidate{{"bash", ""}, {"zsh", ""}, {"fish", ""}}
	}
	next := commands()
	for _, name := range names {
		i := slices.IndexFunc(next, func(cmd command) bool { return cmd.name == name })
		next = next[i].subcommands // it is one of them
	}
	var words []candidate
	for _, cmd := range next {
		words = append(words, candidate{cmd.name, cmd.summary})
	}
	return words
}

// flagsOf returns the flags of a command, which may have a subcommand.
func flagsOf(ctx context.Context, name string, c console) *pflag.FlagSet {
	found := pflag.NewFlagSet(name, pflag.ContinueOnError)
	found.SortFlags = false
	c.stdout, c.stderr, c.flagsOnly = io.Discard, io.Discard, found.AddFlagSet
	run(ctx, strings.Fields(name), c)
	return found
}

// valueFlag returns the flag that the last word is the value of, or nil.
func valueFlag(flags *pflag.FlagSet, before []string) *pflag.Flag {
	if len(before) == 0 || !strings.HasPrefix(before[len(before)-1], "--") {
		return nil
	}
	if f := flags.Lookup(before[len(before)-1][2:]); f != nil && f.NoOptDefVal == "" {
		return f
	}
	return nil
}

// isSpecial reports whether r may have a meaning for a shell. bash inserts a candidate as it is: a file named
// $(command).yaml would run the command, and a line end or a tab would make two candidates of one.
func isSpecial(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("./_-+,@%", r)
}

// valuesOf returns values of a flag, with prefix in front of each: the names that it takes, or files with names that
// need no quotes.
func valuesOf(f *pflag.Flag, prefix, typed, dir string) []candidate {
	if f == nil {
		return nil
	}
	var found []candidate
	if f.Name == "config" || f.Name == "file" || strings.HasSuffix(f.Name, "-file") || f.Name == "denials.file" ||
		strings.HasSuffix(f.Name, "_file") || strings.HasSuffix(f.Name, ".pins") {
		pattern := typed + "*"
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			name := typed[:strings.LastIndexByte(typed, '/')+1] + filepath.Base(path)
			if strings.ContainsFunc(name, isSpecial) {
				continue
			}
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				name += "/"
			}
			found = append(found, candidate{prefix + name, ""})
		}
	}
	for _, value := range configs.FlagValues(f.Name) {
		found = append(found, candidate{prefix + value, ""})
	}
	return found
}
