/** The direction of imports: proto <- protocol <- daemon; the SDK sees the API's types; the command is built on the SDK. */

const error = (name, comment, from, to) => ({ name, severity: 'error', comment, from, to })

/** The shipped code: tests, benches, examples and scripts may import what they like. */
const product = { path: '^(proto|protocol|daemon|sdk)/', pathNot: '[.](test|bench)[.]ts$|/testing/' }
const only = (path) => ({ ...product, path: `^(?:${path})` })
const except = (path) => ({ path: product.path, pathNot: `^(?:${path})|${product.pathNot}` })

/** Each heavy dependency: packages (a pattern after node_modules/) and the folders that may import them. */
const homes = {
  dockerode: ['(dockerode|docker-modem)/', 'daemon/exec/sandbox/'],
  commander: ['commander/', 'daemon/cli/'],
  esbuild: ['esbuild/', 'sdk/src/node/bundle'],
  hono: ['(hono|@hono)/', 'daemon/api/'],
  'isomorphic-git': ['isomorphic-git/', 'daemon/artifacts/'],
  'isolated-vm': ['isolated-vm/', 'daemon/exec/isolate/'],
  level: ['(level|classic-level|abstract-level)/', 'daemon/journal/'],
  libp2p: ['(libp2p|@libp2p|@chainsafe|@multiformats|uint8arraylist)/', 'daemon/net/'],
  'oxc-transform': ['(oxc-transform|@oxc-transform)/', 'daemon/programs/'],
  pino: ['pino/', 'daemon/observe/'],
  'prom-client': ['prom-client/', 'daemon/observe/'],
  zod: ['zod/', '(daemon/(api|artifacts|config|egress|exec/sandbox|identity|sandboxes)/|protocol/)'],
}

const home = (name, [packages, folders]) =>
  error(`one-home-for-${name}`, `Only ${folders} may import it; ask that module instead.`, except(folders), {
    path: `(^|/)node_modules/${packages}`,
  })

export default {
  forbidden: [
    error('no-cycles', 'Put what both need into a file of its own.', {}, { circular: true }),
    error('resolvable', 'Install it, or mend the path.', {}, { couldNotResolve: true }),
    error('proto-is-a-leaf', 'Generated code imports protobufjs alone.', only('proto/'), {
      path: '^(protocol|daemon|sdk|test|bench|scripts)/',
    }),
    error('protocol-below-daemon', 'protocol/ decides; what acts imports it, never the other way.', only('protocol/'), {
      path: '^(daemon|sdk|test|bench|scripts)/',
    }),
    error(
      'protocol-does-no-io',
      'Return an effect and let the daemon perform it. Hashes and signatures (node:crypto) are computation.',
      only('protocol/'),
      {
        dependencyTypes: ['core'],
        pathNot: '^(node:)?(crypto|buffer)$',
      },
    ),
    error(
      'sdk-sees-api-only',
      'protocol/api.ts is the contract; what it needs from elsewhere it re-exports.',
      only('sdk/'),
      {
        path: '^(proto|daemon|test|bench|scripts)/|^protocol/(?!api[.]ts)',
      },
    ),
    error('sdk-takes-types-only', 'The SDK has no run-time dependency: use `import type`.', only('sdk/'), {
      path: '^protocol/',
      dependencyTypesNot: ['type-only'],
    }),
    error(
      'cli-goes-through-the-sdk',
      'The command proves that the SDK suffices: add what is missing there.',
      only('daemon/cli/'),
      {
        path: '^(proto|protocol|daemon)/',
        pathNot: '^daemon/cli/|^daemon/main[.]ts$|^daemon/config/(user-)?paths[.]ts$|^protocol/(api|errors)[.]ts$',
      },
    ),
    error(
      'only-the-cli-imports-the-sdk',
      'The daemon serves the SDK; it does not use it.',
      { ...only('daemon/'), pathNot: `^daemon/cli/|${product.pathNot}` },
      {
        path: '^(sdk|daemon/cli)/',
      },
    ),
    error('product-needs-no-tests', 'Shipped code must not import tests, benches or scripts.', product, {
      path: '^(test|bench|examples|scripts)/|[.]test[.]ts$',
    }),
    ...Object.entries(homes).map(([name, where]) => home(name, where)),
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: '(^|/)node_modules/' },
    exclude: { path: '^test/fixtures/|^(sdk/)?dist/' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'types', 'default'] },
  },
}
