/** What `wx` of a mini program must bring; the global one is used unless one is handed in. */
export type Wx = any;

/** A RequestTask or UploadTask of wx. */
export type WxTask = any;

export type ErrorCode =
  /** An argument that cannot work. */
  | 'bad_argument'
  /** wx.login failed, or weappd or WeChat refused; `detail` is what was answered. */
  | 'login_failed'
  /** No answer came; `detail` is the result of wx. */
  | 'unreachable'
  | 'timeout'
  | 'aborted'
  /** The tunnel's path answered something else; `detail` is the answer. */
  | 'no_tunnel'
  /** A message from the server that is none; `detail` is its text. */
  | 'bad_message'
  /** The server said no; `detail` is its answer. */
  | 'refused'
  /** The data does not open: WeChat encrypted with a session_key that weappd does not hold, or
   * the data is damaged. The client has logged in anew, once a minute at most: ask the phone
   * for the data again. */
  | 'session_key_expired'
  /** A message longer than the server takes. */
  | 'too_long';

export class WeappdError extends Error {
  readonly code: ErrorCode;
  readonly detail?: any;
}

/** Who is logged in, as weappd tells it. */
export interface User {
  id: string;
  appid: string;
  openid: string;
  unionid?: string;
  /** The user object; at least `{openId}`. */
  info: Record<string, any>;
  /** Missing unless the user has shown it. */
  phone?: Phone;
}

/** A phone number, as WeChat proved it. */
export interface Phone {
  /** With `+` and the country code: `+8613800138000`. */
  phone_number: string;
  /** Without: `13800138000`. */
  pure_phone_number: string;
  country_code: string;
  /** Seconds since 1970. */
  verified_at: number;
  /** What proved it: WeChat's answer to a code, or encrypted data, which is the weaker proof. */
  source: 'code' | 'encrypted_data';
}

/** What WeChat encrypts. */
export type DataKind = 'user_info' | 'phone_number' | 'werun' | 'group' | 'other';

export interface SessionData {
  skey: string;
  /** Seconds since 1970: when the session ends if nobody visits again. */
  expires_at: number;
  user: User;
}

export interface ClientOptions {
  /** The site, as in `https://www.example.com`. */
  url: string;
  wx?: Wx;
  /** Where the session lies in the phone's storage. Default: `weappd_session:` and the url. */
  storageKey?: string;
  /** Shows the session in `Authorization: Bearer` instead of `X-WX-Skey`. */
  bearer?: boolean;
  /** Milliseconds for each request, unless it says otherwise. Default: wx's own. */
  timeout?: number;
  /** Which of the site's mini programs logs in, where no Referer says it: WeChat sets one. */
  appid?: string;
}

export interface RequestOptions {
  /** `/api/x`, or a whole address. The session is shown to the client's own site only. */
  path: string;
  method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS' | 'TRACE' | 'CONNECT';
  data?: string | object | ArrayBuffer;
  header?: Record<string, string>;
  dataType?: string;
  responseType?: 'text' | 'arraybuffer';
  timeout?: number;
  enableChunked?: boolean;
  enableHttp2?: boolean;
  /** `false`: without a session, and without logging in for it. */
  session?: boolean;
  /** How often it is asked again when no answer came or the server says 502 to 504.
   * Default: once for GET, HEAD and OPTIONS, never for others. */
  retries?: number;
  /** Hears of the task, to abort it or to read chunks. */
  onTask?: (task: WxTask) => void;
}

export interface Answer<T = any> {
  data: T;
  statusCode: number;
  header: Record<string, string>;
  cookies?: string[];
  errMsg: string;
}

export interface UploadOptions {
  /** A temporary file, from wx.chooseMedia and the like. */
  filePath: string;
  /** Default `/weapp/upload`. */
  path?: string;
  /** The part's name. Default `file`. */
  name?: string;
  formData?: Record<string, string>;
  header?: Record<string, string>;
  timeout?: number;
  session?: boolean;
  onProgress?: (progress: { progress: number; totalBytesSent: number; totalBytesExpectedToSend: number }) => void;
  onTask?: (task: WxTask) => void;
}

/** What weappd's own `/weapp/upload` answers. */
export interface Uploaded {
  code: number;
  data?: { imgUrl: string; size: number; mimeType: string; name: string };
  error?: string;
}

export class Client {
  constructor(options: ClientOptions);
  readonly url: string;
  /** Who is logged in, or null. */
  readonly user: User | null;
  /** The session's keeper; `check()` asks the server whether it holds. */
  readonly session: {
    current(): SessionData | null;
    check(): Promise<boolean>;
    forget(): void;
  };
  /** Logs in unless there is a session; with `userInfo` or `force`, in any case. */
  login(options?: {
    force?: boolean;
    /** From wx.getUserInfo or a button, of the session_key of the last wx.login. */
    userInfo?: { encryptedData: string; iv: string } | { rawData: string; signature: string };
  }): Promise<SessionData>;
  /** Ends the session, here and at the server. */
  logout(): Promise<void>;
  /** wx.request with the session; renews it once if the server no longer knows it. */
  request<T = any>(options: RequestOptions | string): Promise<Answer<T>>;
  /** wx.uploadFile with the session; `data` is read as JSON where it is. */
  upload<T = Uploaded>(options: UploadOptions): Promise<Answer<T>>;
  /** Keeps what the user says of themselves, and gives the user as kept. */
  setProfile(profile:
    | { nickName?: string; avatarUrl?: string; /** A temporary file, as for setAvatar. */ avatarFile?: string }
    | { rawData: string; signature: string }): Promise<User>;
  /** Keeps the picture a user chose (a button with `open-type="chooseAvatar"`), removes the
   * one before, and gives the user as kept. */
  setAvatar(filePath: string, options?: Pick<UploadOptions, 'header' | 'timeout' | 'onProgress' | 'onTask'>): Promise<User>;
  /** Opens data that WeChat encrypted for the user; of another kind than `kind`, it is refused. */
  decrypt<T = any>(sealed: { encryptedData: string; iv: string; kind?: DataKind }): Promise<T>;
  /** Proves and keeps the user's phone number: the `detail` of `bindgetphonenumber`. */
  setPhone(detail: { code: string } | { encryptedData: string; iv: string }): Promise<Phone>;
  /** Has weappd forget the user's phone number. */
  forgetPhone(): Promise<void>;
  /** Whether WeChat still takes the session_key; if not, log in with `force`. */
  checkKey(): Promise<boolean>;
  /** Has WeChat give another session_key. Not often for one user. */
  resetKey(): Promise<void>;
  /** A tunnel, not yet open. */
  tunnel(options?: TunnelOptions | string): Tunnel;
}

export interface TunnelOptions {
  /** Default `/weapp/tunnel`. */
  path?: string;
  /** Tries in a row before it is closed for good. Default 10. */
  tries?: number;
  /** Milliseconds before the second try; doubles. Default 1000. */
  firstPause?: number;
  /** Default 15000. */
  longestPause?: number;
  /** Milliseconds until a socket must be open. Default 10000. */
  connectTimeout?: number;
  /** Milliseconds between pings until the server says. Default 15000. */
  heartbeat?: number;
  /** Messages that wait for a connection. Default 64. */
  maxQueue?: number;
  /** Default 32768, as weappd's `max_message_bytes`. */
  maxMessageBytes?: number;
}

export type TunnelStatus = 'CLOSED' | 'CONNECTING' | 'ACTIVE' | 'RECONNECTING';

export class Tunnel {
  readonly status: TunnelStatus;
  /** A new one with every connection. */
  readonly tunnelId: string | null;
  on(type: 'connect' | 'reconnect', listener: () => void): this;
  on(type: 'reconnecting' | 'error', listener: (error: WeappdError) => void): this;
  on(type: 'close', listener: (end: { reason: 'client' | 'server' | 'gave_up' }) => void): this;
  on(type: '*', listener: (type: string, content: any) => void): this;
  /** A message by its type; one called `close` and the like is heard as `@close`. */
  on(type: string, listener: (content: any) => void): this;
  off(type: string, listener: (...heard: any[]) => void): this;
  open(): this;
  /** Sends, or keeps until there is a connection; false if it can be neither. */
  emit(type: string, content?: any): boolean;
  close(): void;
}
