// What the guest page shows and what its controls do: devices on this side, the stay in the room on the other.

import { socketIoChannel } from '../lib/channel';
import type { InviteLink } from '../lib/link';
import { RoomClient, type Ending, type RoomSnapshot } from '../lib/room-client';
import type { MediaKind } from '../lib/wire/MediaKind';
import { NO_DEVICES, listDevices, open, openBoth, type DeviceList } from './devices';
import { LevelMeter } from './level-meter';
import { recall, recallSeat, recallStay, remember, rememberStay, type Remembered } from './memory';
import { checkNetwork, type NetworkNote } from './network';
import { deviceTrouble, type Words } from './words';

/** One of the guest's two devices. */
export type DeviceState = { is: 'asking' } | { is: 'on'; track: MediaStreamTrack } | { is: 'off' } | { is: 'trouble'; words: Words };

export class Guest {
  readonly link: InviteLink;
  readonly choices: Remembered = $state(recall());
  video: DeviceState = $state.raw({ is: 'asking' });
  audio: DeviceState = $state.raw({ is: 'asking' });
  /** The screen being shared. */
  screen: MediaStreamTrack | null = $state.raw(null);
  microphoneMuted = $state(false);
  microphoneLevel = $state(0);
  devices: DeviceList = $state.raw(NO_DEVICES);
  network: NetworkNote = $state.raw({ state: 'checking' });
  /** Null before joining. */
  room: RoomSnapshot | null = $state.raw(null);
  ending: Ending | null = $state.raw(null);
  /** A sentence about something that just happened; gone by itself. */
  hint = $state('');
  unread = $state(0);
  chatOpen = $state(false);
  /** One of the two stands beside the pictures at a time. */
  peopleOpen = $state(false);
  /** The browser wants a touch before it plays sound. */
  soundBlocked = $state(false);
  speaking: ReadonlySet<string> = $state.raw(new Set());
  /** What this page turned off of others, as `peer/kind`: nobody tells a co-host what the studio's streamer did. */
  silenced: ReadonlySet<string> = $state.raw(new Set());

  #client: RoomClient | null = null;
  #meter: LevelMeter | null = null;
  #hintTimer: ReturnType<typeof setTimeout> | undefined;
  #wakeLock: WakeLockSentinel | null = null;
  /** What was on before this guest only watched: it comes on again on stage. */
  #rested = new Set<MediaKind>();

  constructor(link: InviteLink) {
    this.link = link;
  }

  /** True when this tab was in the room before it was loaded anew: then it goes straight back in. */
  get returning(): boolean {
    return this.choices.name !== '' && recallStay(this.link) !== null;
  }

  get live(): boolean {
    const phase = this.room?.phase;
    return phase?.name === 'live' || (phase?.name === 'restoring' && phase.was === 'live');
  }

  async prepare(): Promise<void> {
    void checkNetwork().then(note => (this.network = note));
    navigator.mediaDevices.addEventListener('devicechange', () => void this.#onDeviceChange());
    addEventListener('offline', () => this.#client?.noteOffline());
    addEventListener('online', () => this.#client?.probe());
    // From Wi-Fi to mobile data nothing is ever offline. Chromium tells; the others are found out by silence.
    networkOf(navigator)?.addEventListener('change', () => this.#client?.probe());
    document.addEventListener('visibilitychange', () => this.#onVisibility());
    const returning = this.returning;
    await this.#openBoth();
    if (returning && this.room === null) this.join();
  }

  join(): void {
    if (this.#client !== null) return;
    this.choices.name = plainName(this.choices.name);
    this.#save();
    const { roomId, token } = this.link;
    const resume = recallStay(this.link) ?? recallSeat(this.link);
    const client = new RoomClient({ open: socketIoChannel(), roomId, token, displayName: this.choices.name, resume });
    this.#client = client;
    const speaking = setInterval(() => this.#listen(), SPEAKING_MS);
    client.on('change', snapshot => {
      this.room = snapshot;
      if (snapshot.role !== null && !snapshot.maySend) this.#onlyWatch();
      else if (snapshot.phase.name === 'live') this.#onStage();
      if (snapshot.phase.name !== 'ended') return;
      clearInterval(speaking);
      if (this.ending === null) this.#onEnded(snapshot.phase.ending);
    });
    client.on('chat', line => {
      if (!line.own && !this.chatOpen) this.unread += 1;
    });
    client.on('resume', resume => rememberStay(this.link, resume, client.snapshot.phase.name !== 'ended'));
    client.on('trouble', (kind, error) => this.#say(`Your browser and the studio could not agree on ${{ audio: 'sound', video: 'video', screen: 'your screen' }[kind]}: ${error.message}`));
    this.#publish('audio');
    this.#publish('video');
    this.ending = null;
    void this.#stayAwake();
    void client.run();
  }

  leave(): void {
    this.#client?.leave();
  }

  /** Back to the first step, after the end of a stay. */
  async again(): Promise<void> {
    this.ending = null;
    this.room = null;
    await this.retryBoth();
  }

  retryNow(): void {
    this.#client?.retryNow();
  }

  toggleMicrophone(): void {
    if (this.audio.is === 'off' || this.audio.is === 'trouble') return void this.#open('audio');
    this.microphoneMuted = !this.microphoneMuted;
    this.#publish('audio');
  }

  /** Off turns the device itself off, with its light. */
  toggleCamera(): void {
    if (this.video.is !== 'on') return void this.#open('video');
    this.#release('video');
    this.video = { is: 'off' };
    this.#publish('video');
  }

  /** As a co-host may. */
  admit(peerId: string): void {
    this.#tell(this.#client?.admit(peerId));
  }

  takeOff(peerId: string): void {
    this.#tell(this.#client?.takeOff(peerId));
  }

  remove(peerId: string): void {
    this.#tell(this.#client?.remove(peerId));
  }

  silence(peerId: string, kind: MediaKind, muted: boolean): void {
    const key = `${peerId}/${kind}`;
    const done = this.#client?.mute(peerId, kind, muted).then(() => {
      const others = [...this.silenced].filter(other => other !== key);
      this.silenced = new Set(muted ? [...others, key] : others);
    });
    this.#tell(done);
  }

  #tell(asked: Promise<void> | undefined): void {
    asked?.catch((error: unknown) => this.#say(error instanceof Error ? error.message : String(error)));
  }

  get canShareScreen(): boolean {
    return 'getDisplayMedia' in navigator.mediaDevices;
  }

  async toggleScreen(): Promise<void> {
    if (this.screen !== null) return this.#endScreen();
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 }, width: { max: 1920 }, height: { max: 1080 } }, audio: false });
      const [track] = stream.getVideoTracks();
      if (track === undefined || this.#client === null) return track?.stop();
      track.contentHint = 'detail';
      // The browser has a button of its own for that.
      track.addEventListener('ended', () => this.screen === track && this.#endScreen());
      this.screen = track;
      this.#client.send('screen', { track, muted: false });
    } catch (error) {
      // Whoever closes the browser's question has changed their mind; that needs no words.
      const refused = error instanceof Error && error.name === 'NotAllowedError' && !/system/i.test(error.message);
      if (!refused) this.#say('Your screen cannot be shared: allow screen recording for your browser in the system’s privacy settings, then try again.');
    }
  }

  #endScreen(): void {
    this.screen?.stop();
    this.screen = null;
    this.#client?.send('screen', { track: null, muted: false });
  }

  choose(kind: MediaKind, deviceId: string): void {
    if (kind === 'video') this.choices.camera = deviceId;
    else this.choices.microphone = deviceId;
    this.#save();
    void this.#open(kind);
  }

  chooseSpeaker(deviceId: string): void {
    this.choices.speaker = deviceId;
    this.#save();
  }

  async retry(kind: MediaKind): Promise<void> {
    await this.#open(kind);
  }

  async retryBoth(): Promise<void> {
    [this.video, this.audio] = [{ is: 'asking' }, { is: 'asking' }];
    await this.#openBoth();
  }

  async say(text: string): Promise<boolean> {
    try {
      await this.#client?.say(text);
      return true;
    } catch (error) {
      this.#say(error instanceof Error ? error.message : 'That could not be sent.');
      return false;
    }
  }

  async toggleHand(): Promise<void> {
    const raised = !(this.room?.handRaised ?? false);
    await this.#client?.raiseHand(raised).catch((error: unknown) => this.#say(error instanceof Error ? error.message : 'That did not work.'));
  }

  /** The others' pictures are that high on the page, in CSS pixels. */
  showAt(height: number): void {
    this.#client?.showAt(Math.round(height * devicePixelRatio));
  }

  showChat(shown: boolean): void {
    this.chatOpen = shown;
    if (shown) [this.unread, this.peopleOpen] = [0, false];
  }

  showPeople(shown: boolean): void {
    this.peopleOpen = shown;
    if (shown) this.chatOpen = false;
  }

  async #openBoth(): Promise<void> {
    const found = await openBoth(this.choices.camera, this.choices.microphone);
    this.#take('video', found.video);
    this.#take('audio', found.audio);
    await this.#refreshDevices();
  }

  async #open(kind: MediaKind): Promise<void> {
    // Phones have one camera open at a time, and some microphones too: let go before taking.
    this.#release(kind);
    this[kind] = { is: 'asking' };
    const wanted = kind === 'video' ? this.choices.camera : this.choices.microphone;
    this.#take(kind, await open(kind, wanted).catch((error: unknown) => error));
    await this.#refreshDevices();
  }

  #take(kind: MediaKind, found: unknown): void {
    if (found instanceof MediaStreamTrack) {
      found.addEventListener('ended', () => void this.#onTrackEnded(kind, found));
      found.contentHint = kind === 'audio' ? 'speech' : 'motion';
      this[kind] = { is: 'on', track: found };
    } else {
      this[kind] = { is: 'trouble', words: deviceTrouble(kind, found) };
    }
    if (kind === 'audio') this.#measure();
    this.#publish(kind);
  }

  #release(kind: MediaKind): void {
    const state = this[kind];
    if (state.is === 'on') state.track.stop();
    if (kind === 'audio') this.#meter?.stop();
    if (kind === 'audio') this.#meter = null;
  }

  #measure(): void {
    this.#meter?.stop();
    this.microphoneLevel = 0;
    this.#meter = this.audio.is === 'on' ? new LevelMeter(this.audio.track, level => (this.microphoneLevel = level)) : null;
  }

  #publish(kind: MediaKind): void {
    const state = this[kind];
    const track = state.is === 'on' ? state.track : null;
    this.#client?.send(kind, { track, muted: track === null || (kind === 'audio' && this.microphoneMuted) });
  }

  /** Unplugged, or taken by the system: the browser's other choice is better than nothing. */
  async #onTrackEnded(kind: MediaKind, track: MediaStreamTrack): Promise<void> {
    const state = this[kind];
    if (state.is !== 'on' || state.track !== track) return;
    const gone = new Error('gone');
    gone.name = 'Unplugged';
    this.#take(kind, gone);
    const words = deviceTrouble(kind, gone);
    const other = await open(kind, '').catch(() => null);
    if (other === null || this[kind].is !== 'trouble') return other?.stop();
    this.#take(kind, other);
    this.#say(`${words.title}. Now using “${other.label}”.`);
  }

  async #onDeviceChange(): Promise<void> {
    await this.#refreshDevices();
    for (const kind of ['video', 'audio'] as const) {
      const state = this[kind];
      const found = kind === 'video' ? this.devices.cameras : this.devices.microphones;
      const mended = state.is === 'trouble' && ['unplugged', 'missing'].includes(state.words.code) && found.length > 0;
      if (mended) await this.#open(kind);
    }
  }

  async #refreshDevices(): Promise<void> {
    this.devices = await listDevices().catch(() => NO_DEVICES);
  }

  #onVisibility(): void {
    if (document.visibilityState !== 'visible' || this.#client === null) return;
    this.#client.probe();
    void this.#stayAwake();
  }

  #listen(): void {
    const heard = [...(this.#client?.soundLevels() ?? [])].filter(([, level]) => level > SPEAKING_LEVEL).map(([peer]) => peer);
    if (heard.length !== this.speaking.size || heard.some(peer => !this.speaking.has(peer))) this.speaking = new Set(heard);
  }

  /** Who watches sends nothing: no reason to keep the camera's light on. */
  #onlyWatch(): void {
    for (const kind of ['video', 'audio'] as const) {
      if (this[kind].is === 'off') continue;
      if (this[kind].is === 'on') this.#rested.add(kind);
      this.#release(kind);
      this[kind] = { is: 'off' };
      this.#publish(kind);
    }
    if (this.screen !== null) this.#endScreen();
  }

  /** They asked for it, with the camera and microphone they had set up. */
  #onStage(): void {
    const rested = [...this.#rested];
    this.#rested.clear();
    for (const kind of rested) if (this[kind].is === 'off') void this.#open(kind);
  }

  #onEnded(ending: Ending): void {
    this.#client = null;
    this.ending = ending;
    [this.chatOpen, this.peopleOpen] = [false, false];
    this.screen?.stop();
    this.screen = null;
    this.silenced = new Set();
    this.#rested.clear();
    for (const kind of ['video', 'audio'] as const) {
      this.#release(kind);
      this[kind] = { is: 'off' };
    }
    void this.#wakeLock?.release().catch(() => {});
    this.#wakeLock = null;
  }

  /** A phone that dims its screen stops its camera. */
  async #stayAwake(): Promise<void> {
    if (!('wakeLock' in navigator)) return;
    this.#wakeLock = await navigator.wakeLock.request('screen').catch(() => null);
  }

  #save(): void {
    remember({ ...this.choices });
  }

  #say(sentence: string): void {
    this.hint = sentence;
    clearTimeout(this.#hintTimer);
    this.#hintTimer = setTimeout(() => (this.hint = ''), HINT_MS);
  }
}

/** The Network Information API, which TypeScript's DOM does not know. */
function networkOf(browser: Navigator): EventTarget | undefined {
  return (browser as { connection?: EventTarget }).connection;
}

/** Names pasted from elsewhere bring invisible characters that the studio refuses. */
function plainName(name: string): string {
  return name.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, ' ').replace(/\s+/g, ' ').trim();
}

const SPEAKING_MS = 250;
const SPEAKING_LEVEL = 0.03;
const HINT_MS = 7_000;
