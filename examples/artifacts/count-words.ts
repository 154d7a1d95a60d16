/** The program that travels: counts the words of each text it is given. What it returns under `files` becomes a commit. */
export interface Given {
  readonly files: Readonly<Record<string, string | { readonly base64: string }>>
}

export default function countWords({ files }: Given): { files: Record<string, string>; message: string } {
  const counts = Object.entries(files).flatMap(([path, text]) =>
    typeof text === 'string' ? [`${path}: ${text.split(/\s+/).filter((word) => word !== '').length}`] : [],
  )
  return { files: { 'counts.txt': `${counts.join('\n')}\n` }, message: 'Count the words' }
}
