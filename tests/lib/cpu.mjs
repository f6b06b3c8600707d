// Processor time by the kernel's accounts, in seconds, user and system.
import fs from 'node:fs';

/** Of all threads a process ever had; the kernel counts in hundredths. */
export function cpuSeconds(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user, system] = stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 13).map(Number);
  return (user + system) / 100;
}

/** Of the threads a process has now, summed up by name; in nanoseconds' precision. */
export function threadSeconds(pid) {
  const sums = new Map();
  for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
    try {
      const name = fs.readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim();
      const [ran] = fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ');
      sums.set(name, (sums.get(name) ?? 0) + Number(ran) / 1e9);
    } catch {
      // It ended while we looked.
    }
  }
  return sums;
}
