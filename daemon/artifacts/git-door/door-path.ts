/**
 * What a path under /git/ asks for. Everything that is not exactly one of these is nothing: no dumb protocol, no decoding of %, no dots.
 *
 *   /git/<id or name>.git/info/refs?service=git-upload-pack | git-receive-pack
 *   /git/<id or name>.git/git-upload-pack | git-receive-pack
 *   /git/<id or name>.git/info/lfs/objects/batch | /info/lfs/objects/<sha256> | /info/lfs/objects/<sha256>/verify | /info/lfs/locks...
 */
export type Service = 'git-upload-pack' | 'git-receive-pack'

export type DoorTarget =
  | { readonly kind: 'advertise'; readonly name: string; readonly service: Service }
  | { readonly kind: 'serve'; readonly name: string; readonly service: Service }
  | { readonly kind: 'lfs-batch'; readonly name: string }
  | { readonly kind: 'lfs-object'; readonly name: string; readonly oid: string }
  | { readonly kind: 'lfs-verify'; readonly name: string; readonly oid: string }
  | { readonly kind: 'lfs-locks'; readonly name: string }

const PATH = /^\/git\/([A-Za-z0-9][A-Za-z0-9._-]{0,99})\.git\/([a-z0-9/-]{1,120})$/
const OBJECT = /^info\/lfs\/objects\/([0-9a-f]{64})(\/verify)?$/
const METHODS: Readonly<Record<DoorTarget['kind'], readonly string[]>> = {
  advertise: ['GET', 'HEAD'],
  serve: ['POST'],
  'lfs-batch': ['POST'],
  'lfs-object': ['GET', 'PUT'],
  'lfs-verify': ['POST'],
  'lfs-locks': ['GET', 'POST'],
}

/** @param target path and query as received. @returns undefined for nothing that is served here */
export function doorTarget(method: string, target: string): DoorTarget | undefined {
  const [path = '', query = '', more] = target.split('?')
  const [, name = '', rest = ''] = PATH.exec(path) ?? []
  if (name === '' || name.includes('..') || more !== undefined) return undefined
  const found = targetOf(name, rest, query)
  return found !== undefined && METHODS[found.kind].includes(method) ? found : undefined
}

function targetOf(name: string, rest: string, query: string): DoorTarget | undefined {
  if (rest === 'info/refs') {
    const service = serviceOf(/^service=([a-z-]{1,20})$/.exec(query)?.[1])
    return service && { kind: 'advertise', name, service }
  }
  if (/^info\/lfs\/locks(\/|$)/.test(rest)) return { kind: 'lfs-locks', name }
  if (query !== '') return undefined
  const service = serviceOf(rest)
  if (service !== undefined) return { kind: 'serve', name, service }
  if (rest === 'info/lfs/objects/batch') return { kind: 'lfs-batch', name }
  const [, oid, verify] = OBJECT.exec(rest) ?? []
  return oid === undefined ? undefined : { kind: verify === undefined ? 'lfs-object' : 'lfs-verify', name, oid }
}

function serviceOf(text: string | undefined): Service | undefined {
  return text === 'git-upload-pack' || text === 'git-receive-pack' ? text : undefined
}
