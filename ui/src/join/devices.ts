// The guest's cameras, microphones and loudspeakers.

import type { MediaKind } from '../lib/wire/MediaKind';

export interface DeviceList {
  cameras: MediaDeviceInfo[];
  microphones: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

export const NO_DEVICES: DeviceList = { cameras: [], microphones: [], speakers: [] };

/** Opens both with one question to the guest; each is a track or what went wrong with it. */
export async function openBoth(camera: string, microphone: string): Promise<Record<MediaKind, MediaStreamTrack | unknown>> {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: constraints('video', camera), audio: constraints('audio', microphone) });
    return { video: stream.getVideoTracks()[0], audio: stream.getAudioTracks()[0] };
  } catch {
    // One of them fails; only asking for each alone tells which, and gives the other.
    const [video, audio] = [await open('video', camera).catch(reason), await open('audio', microphone).catch(reason)];
    return { video, audio };
  }
}

/** `deviceId` empty: the browser's choice. A device that is gone is replaced by the browser's choice. */
export async function open(kind: MediaKind, deviceId: string): Promise<MediaStreamTrack> {
  const ask = (id: string) => navigator.mediaDevices.getUserMedia({ [kind]: constraints(kind, id) });
  const stream = await ask(deviceId).catch(error => {
    if (deviceId !== '' && error instanceof Error && ['OverconstrainedError', 'NotFoundError'].includes(error.name)) return ask('');
    throw error;
  });
  const track = stream.getTracks()[0];
  if (track === undefined) throw new DOMException('no track', 'NotFoundError');
  return track;
}

/** Empty labels before the guest gave permission: those are left out. */
export async function listDevices(): Promise<DeviceList> {
  const all = (await navigator.mediaDevices.enumerateDevices()).filter(device => device.deviceId !== '' && device.label !== '');
  const of = (kind: MediaDeviceKind) => all.filter(device => device.kind === kind);
  return { cameras: of('videoinput'), microphones: of('audioinput'), speakers: canChooseSpeaker() ? of('audiooutput') : [] };
}

export function canChooseSpeaker(): boolean {
  return 'setSinkId' in HTMLMediaElement.prototype;
}

function constraints(kind: MediaKind, deviceId: string): MediaTrackConstraints {
  const device = deviceId === '' ? {} : { deviceId: { exact: deviceId } };
  if (kind === 'audio') return { ...device, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const facing = deviceId === '' ? { facingMode: 'user' } : {};
  return { ...device, ...facing, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
}

function reason(error: unknown): unknown {
  return error;
}
