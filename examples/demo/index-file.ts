/** The program that travels: what a search index wants to know of one source file. Runs in an isolate on whichever node takes the piece, and here for the check. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

export interface Entry {
  readonly path: string
  readonly lines: number
  readonly imports: readonly string[]
  readonly exports: readonly string[]
  /** The identifiers used most, with how often */
  readonly terms: readonly (readonly [term: string, count: number])[]
  /** FNV-1a of the text, to see that it arrived whole */
  readonly fingerprint: string
}

export default function indexFile({ path, text }: SourceFile): Entry {
  return {
    path,
    lines: text.split('\n').length,
    imports: matches(text, /\b(?:from|import|require\s*\()\s*['"]([^'"\n]+)['"]/g),
    exports: matches(
      text,
      /\bexport\s+(?:default\s+)?(?:async\s+)?(?:function\*?|class|const|let|var|interface|type|enum)\s+([A-Za-z_$][\w$]*)/g,
    ),
    terms: topTerms(text, 8),
    fingerprint: fingerprint(text),
  }
}

function matches(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? ''))].sort()
}

function topTerms(text: string, count: number): [string, number][] {
  const counts = new Map<string, number>()
  for (const [term] of text.matchAll(/[A-Za-z_$][\w$]{3,}/g)) counts.set(term, (counts.get(term) ?? 0) + 1)
  return [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, count)
}

function fingerprint(text: string): string {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193) >>> 0
  return hash.toString(16).padStart(8, '0')
}
