/** Completion scripts, made from the command tree. Pure. */
import type { Command, Option } from 'commander'

export type Shell = 'bash' | 'zsh' | 'fish'

/** Words that may follow a path of commands: its subcommands and options. */
interface Entry {
  readonly path: string
  readonly words: readonly Word[]
}

interface Word {
  readonly word: string
  readonly about: string
  /** What may follow an option that takes a value; none: whatever the shell offers. Absent: it takes none */
  readonly values?: readonly string[]
}

export function completionScript(program: Command, shell: Shell): string {
  const entries = entriesOf(program, [])
  if (shell === 'fish') return fishScript(entries)
  return shell === 'zsh' ? zshScript(entries) : bashScript(entries)
}

function entriesOf(command: Command, path: readonly string[]): Entry[] {
  const words = [
    ...command.commands.map((child) => ({ word: child.name(), about: child.description() })),
    ...command.options.map(optionWord),
    { word: '--help', about: 'display help' },
  ]
  return [
    { path: path.join(' '), words },
    ...command.commands.flatMap((child) => entriesOf(child, [...path, child.name()])),
  ]
}

function optionWord({ long, flags, description, required, argChoices }: Option): Word {
  const word = { word: long ?? flags, about: description }
  return required ? { ...word, values: argChoices ?? [] } : word
}

/** Finds the longest path of commands typed so far; `$1` onwards are the words before the cursor. */
function pathFinder(entries: readonly Entry[]): string {
  const paths = entries.filter((entry) => entry.path !== '').map((entry) => `"${entry.path}"`)
  return [
    '_manyhands_path() {',
    '  local path="" word next',
    '  for word in "$@"; do',
    '    next="${path:+$path }$word"',
    `    case "$next" in ${paths.join('|')}) path="$next" ;; esac`,
    '  done',
    `  printf '%s' "$path"`,
    '}',
  ].join('\n')
}

function wordCases(entries: readonly Entry[]): string {
  return entries
    .map((entry) => `    "${entry.path}") words="${entry.words.map((one) => one.word).join(' ')}" ;;`)
    .join('\n')
}

/** Where the word before the cursor is an option that takes a value, nothing but its values fits. */
function valueCases(entries: readonly Entry[]): string {
  return entries
    .flatMap(({ path, words }) =>
      words.flatMap(({ word, values }) => (values ? [`    "${path} ${word}") words="${values.join(' ')}" ;;`] : [])),
    )
    .join('\n')
}

function bashScript(entries: readonly Entry[]): string {
  return `# bash completion for manyhands: source <(manyhands completion bash)
${pathFinder(entries)}
_manyhands() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words="" path
  path="$(_manyhands_path "\${COMP_WORDS[@]:1:COMP_CWORD-1}")"
  case "$path" in
${wordCases(entries)}
  esac
  case "$path \${COMP_WORDS[COMP_CWORD-1]}" in
${valueCases(entries)}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _manyhands manyhands
`
}

function zshScript(entries: readonly Entry[]): string {
  return `#compdef manyhands
# zsh completion for manyhands: source <(manyhands completion zsh)
${pathFinder(entries)}
_manyhands() {
  local words="" at
  at="$(_manyhands_path "\${(@)words_before}")"
  case "$at" in
${wordCases(entries)}
  esac
  case "$at \${words_before[-1]}" in
${valueCases(entries)}
  esac
  compadd -- \${=words}
  _files
}
_manyhands_start() {
  local -a words_before=("\${(@)words[2,CURRENT-1]}")
  _manyhands
}
compdef _manyhands_start manyhands
`
}

function fishScript(entries: readonly Entry[]): string {
  const lines = entries.flatMap(({ path, words }) =>
    words.map(({ word, about, values }) => {
      const value = values?.length ? ` -x -a '${values.join(' ')}'` : values && ' -r'
      const what = word.startsWith('--') ? `-l ${word.slice(2)}${value ?? ''}` : `-f -a ${word}`
      return `complete -c manyhands -n '__manyhands_at "${path}"' ${what} -d '${about.replaceAll("'", "\\'")}'`
    }),
  )
  const paths = entries.filter((entry) => entry.path !== '').map((entry) => `"${entry.path}"`)
  return `# fish completion for manyhands: manyhands completion fish | source
function __manyhands_at
  set -l path ""
  for word in (commandline -opc)[2..]
    set -l next (string trim -- "$path $word")
    if contains -- "$next" ${paths.join(' ')}
      set path $next
    end
  end
  test "$path" = "$argv[1]"
end
${lines.join('\n')}
`
}
