/** Services of this node's own network, for named guests on any node. */
import type { ServiceView } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { table } from '../table.ts'
import { safeLine } from '../terminal.ts'

export async function expose(
  { mesh, output }: Context,
  name: string,
  flags: { readonly to: string; readonly grant: readonly string[] },
): Promise<undefined> {
  const service = await (await mesh()).services.expose({ name, target: flags.to, grants: flags.grant })
  await output.answer(service, () =>
    safeLine(`service/${service.name} leads to ${service.target}, for ${service.grants.join(', ')}`),
  )
}

export async function list({ mesh, output }: Context): Promise<undefined> {
  const services = await (await mesh()).services.list()
  await output.answer({ services }, () => {
    if (services.length === 0) return 'No services.'
    return table(
      [
        { title: 'NAME', of: (one: ServiceView) => one.name },
        { title: 'TARGET', of: (one) => one.target },
        { title: 'GRANTED TO', of: (one) => one.grants.join(' ') },
      ],
      services,
      output.io.columns,
    )
  })
}

export async function remove({ mesh, output }: Context, name: string): Promise<undefined> {
  await (await mesh()).services.remove(name)
  await output.answer({ removed: name }, () => `removed ${safeLine(name)}`)
}
