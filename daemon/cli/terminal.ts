/**
 * Text from elsewhere (outputs, logs, names of peers) must not steer the terminal: escape sequences (OSC 52 writes the clipboard), carriage returns that
 * overwrite a line, characters that reorder or hide text. They are shown by their code instead.
 */

/** C0 and C1 controls, marks and overrides of direction, invisible separators, tags, lone surrogates */
const UNSAFE =
  // biome-ignore lint: control characters are the point
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Cs}/gu

/** One line: line breaks are shown as codes too. */
export function safeLine(text: string): string {
  return text.replace(UNSAFE, code)
}

/** Keeps line breaks and tabs. */
export function safeText(text: string): string {
  return text.replace(UNSAFE, (char) => (char === '\n' || char === '\t' ? char : code(char)))
}

/** JSON text that is safe to show and still the same JSON. */
export function safeJson(value: unknown, indent = 0): string {
  const json = JSON.stringify(value, null, indent) ?? 'null'
  return json.replace(UNSAFE, (char) => (char === '\n' ? char : jsonEscape(char)))
}

function code(char: string): string {
  const point = char.codePointAt(0) ?? 0
  if (point < 0x100) return `\\x${point.toString(16).padStart(2, '0')}`
  return point < 0x10000 ? `\\u${point.toString(16).padStart(4, '0')}` : `\\u{${point.toString(16)}}`
}

function jsonEscape(char: string): string {
  let text = ''
  for (let unit = 0; unit < char.length; unit++) text += `\\u${char.charCodeAt(unit).toString(16).padStart(4, '0')}`
  return text
}

/** Columns a text takes: wide characters of East Asia and emoji two, combining ones none. */
export function displayWidth(text: string): number {
  let width = 0
  for (const char of text) width += charWidth(char)
  return width
}

/** Cut to `width` columns, with an ellipsis when something is missing. */
export function fit(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  let used = 1
  let cut = ''
  for (const char of text) {
    used += charWidth(char)
    if (used > width) break
    cut += char
  }
  return width > 0 ? `${cut}…` : ''
}

function charWidth(char: string): number {
  if (/\p{Mn}|\p{Me}|\u200d/u.test(char)) return 0
  const point = char.codePointAt(0) ?? 0
  const wide =
    (point >= 0x1100 && point <= 0x115f) ||
    (point >= 0x2e80 && point <= 0xa4cf) ||
    (point >= 0xac00 && point <= 0xd7a3) ||
    (point >= 0xf900 && point <= 0xfaff) ||
    (point >= 0xfe30 && point <= 0xfe6f) ||
    (point >= 0xff00 && point <= 0xff60) ||
    (point >= 0xffe0 && point <= 0xffe6) ||
    (point >= 0x1f300 && point <= 0x1faff) ||
    (point >= 0x20000 && point <= 0x3fffd)
  return wide || /\p{Emoji_Presentation}/u.test(char) ? 2 : 1
}
