/**
 * The agent for processors that the helper is not built for: a POSIX shell with the commands every image with a shell has. It takes requests as lines
 *
 *     TOKEN SP number SP shell commands SP "."
 *
 * and runs them one after another; a line that was cut does not end in the dot and is dropped. What the commands write on standard output comes as it is,
 * then a zero byte, "TOKEN SP number SP status LF". Jobs run beside that: their outputs are files in a folder of the agent, from where requests fetch
 * them, and when one ends its line comes on standard error: a zero byte, "TOKEN SP end SP id SP status SP which LF", where `which` names the outputs
 * that are not empty, or what kept the job from starting.
 *
 * Where `dd` can take exactly so many bytes, content follows a request as it is; where not, it is part of the request as octal escapes, which is slow.
 *
 * All commands are written by the daemon, which quotes what is not its own; nothing the guest writes is ever run.
 */
export const SHELL_LOOP = [
  'T=$1',
  'exec 3<&0',
  "trap 'mh_end; exit 0' TERM",
  'while IFS= read -r l; do',
  '  case $l in "$T "*" .")',
  '    l=${l#"$T "}; n=${l%% *}; l=${l#* }; l=${l% .}',
  '    eval "$l" </dev/null',
  `    printf '\\000%s %s %s\\n' "$T" "$n" "$?";;`,
  '  esac',
  'done',
  'mh_end',
].join('\n')

export function shellCommand(token: string): string[] {
  return ['/bin/sh', '-c', SHELL_LOOP, 'sh', token]
}

/**
 * Said at the beginning of each conversation: its own folder, what it needs, and an end to the jobs of the last. That folder is removed in the end, so it has
 * a name that no image gives a variable.
 *
 * A shell ends at an arithmetic expression that it cannot read, and where `:` cannot open the file it is to write to. So sums have a default for each
 * part, and files are made by `printf`.
 */
export const PRELUDE = [
  // statuses are errno numbers
  'mh_path() { r=${1#/}; c=; while [ -n "$r" ]; do c=$c/${r%%/*}; [ -L "$c" ] && return 40; case $r in */*) r=${r#*/};; *) r=;; esac; done; return 0; }',
  'mh_file() { mh_path "$1" || return 40; [ -e "$1" ] || return 2; [ -d "$1" ] && return 21; [ -f "$1" ] || return 22; [ -r "$1" ] || return 13; }',
  'mh_made() { mh_path "$1" || return 40; mkdir -p -- "$1" 2>/dev/null && return 0; [ -e "$1" ] && return 17; return 13; }',
  // what is listed as a job has its outputs already
  'mh_outputs() { { printf "" >"$mh_dir/$i.1" && printf "" >"$mh_dir/$i.2" && printf "" >"$mh_dir/$i.$k"; } 2>/dev/null; }',
  // id, kind (fg or bg), input, folder, number of variables, variables, program and arguments
  'mh_job() { i=$1; k=$2; in=$3; f=$4; v=$5; shift 5; mh_outputs || { rm -f "$mh_dir/$i".*; printf \'\\000%s end %s 127 E28\\n\' "$T" "$i" >&2; return 0; }; { ( mh_start "$@" ) <"$in" >"$mh_dir/$i.1" 2>"$mh_dir/$i.2" & p=$!; echo $p >"$mh_dir/$i.pid"; wait $p; s=$?; w=; [ -s "$mh_dir/$i.1" ] && w=${w}1; [ -s "$mh_dir/$i.2" ] && w=${w}2; [ -s "$mh_dir/$i.why" ] && read -r w <"$mh_dir/$i.why"; echo $s >"$mh_dir/$i.rc"; printf \'\\000%s end %s %s %s\\n\' "$T" "$i" "$s" "${w:--}" >&2; } & }',
  // the command's own variables may have any name but those that begin with mh_
  'mh_start() { cd -- "$f" 2>/dev/null || { echo E20 >"$mh_dir/$i.why"; exit 127; }; mh_why=$mh_dir/$i.why; mh_left=$v; mh_set=$S; while [ $mh_left -gt 0 ]; do export "$1"; shift; mh_left=$((mh_left-1)); done; case $1 in */*) [ -f "$1" ] && [ -x "$1" ];; *) command -v -- "$1" >/dev/null;; esac || { echo E2 >"$mh_why"; [ -e "$1" ] && echo E13 >"$mh_why"; exit 127; }; [ -n "$mh_set" ] && exec setsid "$@"; exec "$@"; }',
  'mh_pid() { p=; t=0; while [ ! -s "$mh_dir/$1.pid" ] && [ $t -lt 50 ]; do sleep 0.02; t=$((t+1)); done; read -r p <"$mh_dir/$1.pid"; }',
  'mh_kill() { mh_pid $1; [ -e "$mh_dir/$1.rc" ] && return 0; [ -n "$p" ] && { kill -s $2 -- -$p 2>/dev/null || kill -s $2 $p 2>/dev/null; }; return 0; }',
  'mh_end() { for o in "$mh_dir"/*.pid; do [ -e "$o" ] || continue; o=${o##*/}; mh_kill ${o%.pid} KILL; done; rm -rf "$mh_dir"; }',
  'mh_old() { for o in "$mh_dir"/*.fg; do [ -e "$o" ] || continue; o=${o##*/}; o=${o%.fg}; mh_kill $o KILL; rm -f "$mh_dir/$o".*; done; }',
  'mh_jobs() { for o in "$mh_dir"/*.bg; do [ -e "$o" ] || continue; o=${o##*/}; o=${o%.bg}; mh_pid $o; [ -e "$mh_dir/$o.rc" ] && e=0 || e=1; a=$(wc -c <"$mh_dir/$o.1"); b=$(wc -c <"$mh_dir/$o.2"); echo "$o ${p:-0} $e $((${a:-0}+${b:-0}))"; cat "$mh_dir/$o.bg"; echo; done; }',
  `L=$(printf '\\nx'); L=\${L%x}`,
  'S=; command -v setsid >/dev/null 2>&1 && S=1',
  'if [ -z "$mh_dir" ]; then for d in "$TMPDIR" /tmp "$HOME" "$PWD" /dev/shm; do [ -n "$d" ] && mkdir -m 700 "$d/.manyhands-$T" 2>/dev/null && mh_dir=$d/.manyhands-$T && break; done; fi',
  // whether bytes can follow a request: then the answer holds "abc"
  'printf abc | dd bs=3 count=1 iflag=fullblock 2>/dev/null',
  'mh_old; [ -n "$mh_dir" ]',
].join('; ')

/** Bytes that may follow a request. So many line ends begin a conversation, in case the last one ended before that. */
export const PAYLOAD_BYTES = 16 << 10
/** Takes what follows the request, onto the end of a file. */
export const takePayload = (bytes: number, file: string): string =>
  `dd bs=${bytes} count=1 iflag=fullblock <&3 >>${file} 2>/dev/null`

/** Text as one word of the shell, on one line, whatever is in it. */
export function quote(text: string): string {
  if (!text.includes('\n')) return `'${text.replaceAll("'", `'\\''`)}'`
  // a line end is the variable L, which the prelude sets
  return text
    .split('\n')
    .map((line) => quote(line))
    .join('"$L"')
}

/** Bytes as the format of the shell's `printf`, which knows octal escapes everywhere. */
export function printfFormat(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x25 && byte !== 0x27 && byte !== 0x5c
    text += plain ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`
  }
  return `'${text}'`
}
