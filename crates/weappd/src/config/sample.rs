//! The weappd.toml that `weappd init` writes.

/// A commented weappd.toml; `tunnel_key` is the generated signature key.
pub(crate) fn text(tunnel_key: &str) -> String {
    SAMPLE.replace("TUNNEL_KEY", tunnel_key)
}

const SAMPLE: &str = r#"# weappd.toml. Check it with `weappd check`, run it with `weappd serve`.
# Lines that begin with #: are settings with their defaults, or examples; take the #: away
# to use them. A text may also come from { env = "NAME" } or { file = "path" }.
# Relative paths begin at the directory of this file.

domain = "www.example.com"                       # the name in your mini program's server domains
cert   = "1_www.example.com_bundle.crt"          # as your certificate vendor sent them
key    = "2_www.example.com.key"

[miniapp]
appid  = "wx0123456789abcdef"                    # mp.weixin.qq.com -> Development settings
secret = { env = "WEAPP_SECRET" }
#: login_duration_days = 30                      # a session ends this long after its login
#: session_duration_secs = 2592000               # or this long after its last visit

# Message push (消息推送): set the URL https://www.example.com/weapp/message in WeChat's
# console and copy its Token and EncodingAESKey; your app gets plain JSON.
#: message_token = "the Token"
#: encoding_aes_key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
#: message_path = "/weapp/message"               # where your app takes them

# Your business server. weappd starts it, tells it its PORT, and keeps it alive.
# For one that runs already, remove this section and write above: proxy = 1937
[app]
run = "node app.js"
#: dir = "."
#: env = { NODE_ENV = "production" }
#: instances = 1
#: ready = { path = "/healthz" }                 # default: it accepts connections on PORT

# Realtime tunnels. The key is the SDK's tunnelSignatureKey. Your app answers GET /weapp/tunnel,
# as with the Wafer SDKs, or weappd if it has no such path; POST is your app's callback.
[tunnel]
key = "TUNNEL_KEY"
#: issuer = "auto"                               # or "app", or "weappd"
#: receive = "https://www.example.com/weapp/tunnel"  # default: where the SDK says

#: [session]
#: wafer1 = false                                # also answer /login and /user, as Wafer 1
#: wafer2 = true                                 # answer /weapp/login and /weapp/user
#: store = "sqlite:weappd.db"                    # in data_dir; or "mysql://user:password@host/db"
#: max_sessions_per_user = 8

#: [files]
#: max_upload_bytes = 10485760
#: max_avatar_bytes = 2097152                    # a picture users choose for themselves
#: max_total_bytes = 0                           # of all uploads together; 0: no limit

#: [edge]
#: http = ":80"                                  # or a list; false: nowhere
#: https = ":443"
#: redirect = true                               # send HTTP on to HTTPS; or its port outside
#: max_body_bytes = 104857600
#: env_id = "weappd"                             # X-WX-ENV, as in WeChat's cloud hosting
#: trusted_proxies = ["loopback"]                # your own proxies in front: X-Forwarded-*
#: wechat_gateways = ["203.0.113.0/24"]          # WeChat's gateway (微信网关): believed

#: [internal]
#: listen = "127.0.0.1:8081"                     # where your business server calls weappd
#: token = { file = "internal.token" }           # opens it for programs weappd did not start
#: wechat_https = "127.0.0.1:8083"               # https://api.weixin.qq.com for your apps

#: [log]
#: level = "info"
#: format = "text"                               # or "json"

# Several sites, mini programs and apps:
#
#: [sites."shop.example.com"]
#: cert = "1_shop.example.com_bundle.crt"
#: key = "2_shop.example.com.key"
#: # One mini program: miniapp = "wx0123456789abcdef". Several share the site's app; a
#: # login that does not say which it is of means the first.
#: miniapps = ["wx0123456789abcdef", "wxfedcba9876543210"]
#: dialects = ["wafer1", "wafer2"]
#: routes = [
#:   { path = "/", app = "shop" },
#:   { path = "/api", proxy = ["127.0.0.1:5757", "127.0.0.1:5758"], session = "require" },
#:   { path = "/static/", root = "html" },        # /static/a.png is html/static/a.png
#:   { path = "= /old", redirect = "https://www.example.com{path}", code = 301 },
#: ]
#: # What wx.cloud.callContainer's header X-WX-SERVICE chooses among:
#: services = { orders = { app = "shop" }, talk = { proxy = 3000, session = "require" } }
#:
#: [miniapps.wxfedcba9876543210]
#: secret = { file = "shop.secret" }
#:
#: [apps.shop]
#: run = ["php", "-S", "127.0.0.1:5757"]
#: port = 5757
"#;
