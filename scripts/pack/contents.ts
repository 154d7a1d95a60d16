/** What a tarball must and must not hold. */

export interface Contents {
  /** Each must be there */
  readonly must: readonly string[]
  /** Every file must match one */
  readonly may: readonly RegExp[]
}

export const ROOT_CONTENTS: Contents = {
  must: [
    'package.json',
    'README.md',
    'LICENSE',
    'bin/manyhands.mjs',
    'dist/cli.js',
    'dist/daemon.js',
    'dist/isolate-host.js',
    'proto/control.proto',
  ],
  may: [
    /^(?:package\.json|README\.md|LICENSE)$/,
    /^bin\/[\w-]+\.mjs$/,
    /^dist\/[\w.-]+\.js(?:\.LEGAL\.txt)?$/,
    /^proto\/[\w-]+\.proto$/,
    /^docs\/.+\.(?:md|svg|png)$/,
  ],
}

export const SDK_CONTENTS: Contents = {
  must: ['package.json', 'LICENSE', 'dist/index.js', 'dist/index.d.ts'],
  may: [/^(?:package\.json|README\.md|LICENSE)$/, /^dist\/[\w./-]+\.(?:js|d\.ts)(?:\.LEGAL\.txt)?$/],
}

/** One sentence per fault. */
export function contentFaults(files: readonly string[], { must, may }: Contents): string[] {
  const have = new Set(files)
  return [
    ...must.filter((path) => !have.has(path)).map((path) => `${path} is missing`),
    ...files
      .filter((path) => !may.some((pattern) => pattern.test(path)))
      .map((path) => `${path} does not belong there`),
  ]
}
