#version 120
// A line of text: a quad that turns itself so that it is read from left to right and upright from every side.
uniform mat4 u_matrix;
uniform vec2 u_half_size;    // of the picture, in pixels
attribute vec2 a_corner;     // 0..1
attribute vec3 a_origin;     // lower left corner
attribute vec3 a_u;          // along the line
attribute vec3 a_v;          // upwards
attribute vec4 a_rect;       // left, top, width, height in the texture of letters, in texels
attribute vec4 a_colour;
attribute float a_em;        // size of the letters over the height of the quad
varying vec2 v_texel;
varying vec4 v_colour;

vec2 on_screen(vec3 p) {
    vec4 clip = u_matrix * vec4(p, 1.0);
    return clip.xy / max(clip.w, 1.0e-4) * u_half_size;
}

void main() {
    vec3 middle = a_origin + 0.5 * (a_u + a_v);
    vec2 centre = on_screen(middle);
    vec2 u = on_screen(middle + 0.5 * a_u) - centre;
    vec2 v = on_screen(middle + 0.5 * a_v) - centre;
    vec2 corner = a_corner;
    if (u.x < 0.0) corner.x = 1.0 - corner.x;
    if (v.y < 0.0) corner.y = 1.0 - corner.y;
    v_texel = a_rect.xy + vec2(corner.x, 1.0 - corner.y) * a_rect.zw;
    // letters that are too small to read leave room for calm
    float pixels = 2.0 * length(v) * a_em;
    v_colour = vec4(a_colour.rgb, a_colour.a * smoothstep(3.6, 6.2, pixels));
    gl_Position = u_matrix * vec4(a_origin + a_u * a_corner.x + a_v * a_corner.y, 1.0);
}
