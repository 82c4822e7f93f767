#version 120
// A letter of a line of text: a quad; the line turns itself so that it is read from left to right and upright from
// every side.
uniform mat4 u_matrix;
uniform vec2 u_half_size;    // of the picture, in pixels
uniform float u_em;          // size of the letters over the height of the line
attribute vec2 a_place;      // of the corner within its line, 0..1
attribute vec2 a_texel;      // in the texture of letters
attribute vec3 a_origin;     // lower left corner of the line
attribute vec3 a_u;          // along the line
attribute vec3 a_v;          // upwards
attribute vec4 a_colour;
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
    vec2 place = a_place;
    if (u.x < 0.0) place.x = 1.0 - place.x;
    if (v.y < 0.0) place.y = 1.0 - place.y;
    v_texel = a_texel;
    // letters that are too small to read leave room for calm
    float pixels = 2.0 * length(v) * u_em;
    v_colour = vec4(a_colour.rgb, a_colour.a * smoothstep(6.2, 7.4, pixels));
    gl_Position = u_matrix * vec4(a_origin + a_u * place.x + a_v * place.y, 1.0);
    // and cost nothing where they cannot be seen: outside what is drawn
    if (pixels < 6.3) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}
