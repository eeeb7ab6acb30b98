//! A user's picture, drawn here so that no page asks another host for it.

use crate::user_name::UserName;

/// The avatar as SVG: the nickname's first letter on the user's own colour.
pub(crate) fn draw(user: &UserName) -> String {
    let hue = user.hue();
    let next = (hue + 28) % 360;
    // Names are letters of [a-z0-9_-]: nothing here needs escaping.
    let letter = user
        .as_str()
        .chars()
        .next()
        .unwrap_or('?')
        .to_ascii_uppercase();
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 132 132" width="132" height="132" role="img" aria-label="{name}">
<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1"><stop offset="0" stop-color="hsl({hue} 62% 62%)"/><stop offset="1" stop-color="hsl({next} 58% 46%)"/></linearGradient></defs>
<rect width="132" height="132" fill="url(#g)"/>
<circle cx="108" cy="24" r="46" fill="#fff" opacity=".12"/>
<text x="66" y="67" fill="#fff" font-family="system-ui, sans-serif" font-size="64" font-weight="600" text-anchor="middle" dominant-baseline="central">{letter}</text>
</svg>
"##,
        name = user.as_str(),
    )
}
