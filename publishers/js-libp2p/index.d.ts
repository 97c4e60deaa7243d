import type { Libp2p, Metrics } from '@libp2p/interface'

export interface PublishOptions {
  /** The Unix socket given to `introspectd --feed`. */
  path: string
}

export interface Publisher {
  /** Ends the connection to the daemon and leaves the node as it was. */
  stop(): void
}

/**
 * Publishes what the node knows to the daemon that listens at `path`, now or
 * later. Nothing of it throws into the node or keeps the process alive; what goes
 * wrong is said under the log name `introspectd:publisher`.
 *
 * @throws TypeError without a path
 */
export function publish (node: Libp2p<any>, options: PublishOptions): Publisher

export interface IntrospectionMetricsInit {
  /** Other metrics that the node is to keep, e.g. `prometheusMetrics()`. */
  delegate?: (components: any) => Metrics
}

/** The `metrics` option of a node that is to publish bytes per connection, stream and protocol. */
export function introspectionMetrics (init?: IntrospectionMetricsInit): (components: any) => Metrics
