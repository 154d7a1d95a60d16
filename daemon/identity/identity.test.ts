import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { signerFromSeed } from '../../protocol/signing/signing.ts'
import { createIdentity, findIdentity, readIdentity } from './identity.ts'
import { findMesh, foundMesh, writeMesh } from './mesh-file.ts'

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: { code?: string }) => error.code,
  )

describe('files of a node', () => {
  let home: string
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'manyhands-identity-'))
  })
  afterEach(() => rm(home, { recursive: true }))
  const path = () => join(home, 'private', 'identity.json')

  test('an identity is made once, in a private file of a private folder, and stays', async () => {
    const made = await createIdentity(path())
    const again = await createIdentity(path())
    expect(again.nodeId).toBe(made.nodeId)
    expect(signerFromSeed(made.seed).nodeId).toBe(made.nodeId)
    expect((await stat(path())).mode & 0o777).toBe(0o600)
    expect((await stat(join(home, 'private'))).mode & 0o777).toBe(0o700)
  })

  test('two that start at once agree on one identity', async () => {
    const made = await Promise.all(
      Array.from({ length: 8 }, () => createIdentity(path()).catch(() => readIdentity(path()))),
    )
    expect(new Set(made.map(({ nodeId }) => nodeId)).size).toBe(1)
  })

  test('F23 a missing identity is an error, not a new one', async () => {
    expect(await findIdentity(path())).toBeUndefined()
    expect(await code(readIdentity(path()))).toBe('E_IDENTITY')
  })

  test('API-06 an identity that others can read, or a link, is refused', async () => {
    await createIdentity(path())
    await chmod(path(), 0o644)
    expect(await code(readIdentity(path()))).toBe('E_INSECURE_FILE')
    await chmod(path(), 0o600)
    const link = join(home, 'link.json')
    await symlink(path(), link)
    expect(await code(readIdentity(link))).toBe('E_INSECURE_FILE')
    await chmod(join(home, 'private'), 0o755)
    expect(await code(createIdentity(path()))).toBe('E_INSECURE_FILE')
  })

  test('F22 no flipped byte of the identity is taken for another identity', async () => {
    const { nodeId } = await createIdentity(path())
    const bytes = await readFile(path())
    for (let at = 0; at < bytes.length - 1; at++) {
      await writeFile(
        path(),
        bytes.map((byte, index) => (index === at ? byte ^ 4 : byte)),
      )
      const found = await readIdentity(path()).catch((error: { code?: string }) => error)
      // Spare bits of base64 may flip without changing a key.
      expect(found).toSatisfy(
        (value: { code?: string; nodeId?: string }) => value.code === 'E_IDENTITY' || value.nodeId === nodeId,
      )
    }
  })

  test('a mesh file reads back, is private, and is refused when damaged', async () => {
    const signer = signerFromSeed(new Uint8Array(32).fill(1))
    const file = join(home, 'private', 'mesh.json')
    expect(await findMesh(file)).toBeUndefined()
    const mesh = foundMesh(signer, 'lab', 'host-1')
    await writeMesh(file, { ...mesh, bootstrap: [{ peer: signer.nodeId, addresses: ['/ip4/10.0.0.1/tcp/1'] }] })
    const found = await findMesh(file)
    expect(found).toMatchObject({
      meshId: mesh.meshId,
      meshName: 'lab',
      nodeName: 'host-1',
      networkKey: mesh.networkKey,
    })
    expect(found?.list.list).toEqual(mesh.list.list)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    const text = await readFile(file, 'utf8')
    for (const bad of [
      '',
      '{}',
      text.slice(0, -20),
      text.replace('"version":1', '"version":2'),
      text.replace(/"list":"..../, '"list":"AAAA'),
    ]) {
      await writeFile(file, bad)
      expect(await code(findMesh(file))).toBe('E_CONFIG')
    }
  })
})
