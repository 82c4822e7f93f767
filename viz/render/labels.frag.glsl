#version 120
uniform sampler2D u_letters; // signed distances, 0.5 on the outline
uniform vec2 u_letters_size;
varying vec2 v_texel;
varying vec4 v_colour;

void main() {
    float d = texture2D(u_letters, v_texel / u_letters_size).r;
    float width = max(fwidth(d) * 0.7, 0.008);
    float cover = smoothstep(0.5 - width, 0.5 + width, d);
    if (cover * v_colour.a < 0.02) discard;
    gl_FragColor = vec4(v_colour.rgb, v_colour.a * cover);
}
