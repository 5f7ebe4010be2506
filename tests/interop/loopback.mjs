// Loaded before OpenClaw (`node --import`): lets it speak to this machine only, whatever it is configured to look up.

import dns from "node:dns";
import net from "node:net";

const near = (host) => !host || host === "localhost" || host === "::1" || host.startsWith("127.");

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const [options] = Array.isArray(args[0]) ? args[0] : args;
  const host = typeof options === "object" ? options.host : typeof args[1] === "string" ? args[1] : undefined;
  if (options?.path || near(host)) return connect.apply(this, args);
  process.nextTick(() => this.destroy(Object.assign(new Error(`not on loopback: ${host}`), { code: "ENETUNREACH" })));
  return this;
};

const lookup = dns.lookup;
dns.lookup = function (host, ...rest) {
  if (near(host)) return lookup.call(dns, host, ...rest);
  const done = rest[rest.length - 1];
  process.nextTick(() => done(Object.assign(new Error(`not on loopback: ${host}`), { code: "ENOTFOUND" })));
};
